import { compileSeccomp, notifies, seccompFlags, unknownCalls } from '../../kernel/seccomp.ts';
import { KeelsonError } from '../../ground/errors.ts';
import type { Spec } from '../../spec/runtime.ts';
import type { SeccompInput } from '../create-plan.ts';
import { type Extensions } from './annotations.ts';
import type { Host } from './host.ts';

const CAP_SYS_PTRACE = 19;

/** The filter of a container's processes, and who listens to it. */
export function seccompInput(
  { facts, environment, debug }: Host,
  { linux }: Spec,
  extensions: Extensions,
): { seccomp?: SeccompInput } {
  if (extensions.seccompFilter) return { seccomp: { filter: extensions.seccompFilter, flags: 0 } };
  if (!linux?.seccomp) return {};
  const receiver = extensions.seccompReceiver ?? environment['RUN_OCI_SECCOMP_RECEIVER'];
  const profile =
    linux.seccomp.listenerPath === undefined && receiver !== undefined
      ? { ...linux.seccomp, listenerPath: receiver }
      : linux.seccomp;
  const unknown = extensions.knownCallsOnly ? unknownCalls(profile, facts.arch) : [];
  if (unknown.length > 0)
    throw new KeelsonError('invalid-argument', `seccomp profile: unknown system call ${unknown.join(', ')}`);
  const flags = seccompFlags(profile);
  debug(`seccomp filter flags: ${flags}`);
  const { listenerPath, listenerMetadata } = profile;
  return {
    seccomp: {
      filter: compileSeccomp(profile, facts.arch),
      flags,
      ...(notifies(profile) &&
        listenerPath !== undefined && {
          listener: {
            path: listenerPath,
            ...(listenerMetadata !== undefined && { metadata: listenerMetadata }),
            grab: !facts.inUserNamespace && facts.capabilities.effective.includes(CAP_SYS_PTRACE),
          },
        }),
    },
  };
}
