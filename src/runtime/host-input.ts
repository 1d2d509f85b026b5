/** The parts of a plan's input that come from the host's facts and a config's `process`, the same for run and exec. */
import { capabilitySets } from '../kernel/capabilities.ts';
import { type HostFacts, kernelAtLeast } from '../kernel/facts.ts';
import { rlimitNumber } from '../kernel/rlimits.ts';
import type { Process } from '../spec/runtime.ts';
import type { ContainerPlanInput } from './container-plan.ts';
import type { ProcessInput } from './exec-steps.ts';

/** Numbers for names. Capabilities that this process can't give are left out, and told to `warn`. */
export function processInput(
  process: Process,
  facts: HostFacts,
  options: {
    createCwd: boolean;
    setgroups: boolean;
    userNamespace: boolean;
    init?: boolean;
    warn?: (message: string) => void;
  },
): ProcessInput {
  // In a user namespace of its own a process has every capability over what that namespace owns.
  const all = Array.from({ length: facts.lastCapability + 1 }, (_, i) => i);
  const held = options.userNamespace ? all : facts.capabilities.effective;
  return {
    args: process.args ?? [],
    env: withoutRepeats(process.env ?? []),
    cwd: process.cwd,
    createCwd: options.createCwd,
    user: { uid: process.user.uid, gid: process.user.gid, additionalGids: process.user.additionalGids ?? [] },
    umask: process.user.umask ?? 0o022,
    capabilities: capabilitySets(process.capabilities ?? {}, {
      available: held,
      ...(options.warn && { warn: options.warn }),
    }),
    lastCapability: facts.lastCapability,
    heldCapabilities: held,
    rlimits: (process.rlimits ?? []).map(({ type, soft, hard }) => ({
      resource: rlimitNumber(type),
      name: type,
      soft: BigInt(soft),
      hard: BigInt(hard),
    })),
    noNewPrivileges: process.noNewPrivileges === true,
    setgroups: options.setgroups,
    ...(process.apparmorProfile && facts.apparmor && { apparmorProfile: process.apparmorProfile }),
    ...(process.selinuxLabel && facts.selinux && { selinuxLabel: process.selinuxLabel }),
    ...(process.oomScoreAdj !== undefined && { oomScoreAdj: process.oomScoreAdj }),
    ...(process.consoleSize && { consoleSize: process.consoleSize }),
    ...(options.init && { init: true }),
  };
}

/** What the host decides about mounts. Appending lower directories one by one came with Linux 6.7. */
export function hostInput(facts: HostFacts): Pick<ContainerPlanInput, 'arch' | 'lowerdirPlus' | 'mountFacts'> {
  const hierarchies = facts.cgroup.v1.map(({ mountPoint, controllers }) => ({
    name: mountPoint.slice(mountPoint.lastIndexOf('/') + 1),
    options: controllers,
  }));
  return {
    arch: facts.arch,
    lowerdirPlus: kernelAtLeast(facts.kernel, 6, 7),
    mountFacts: { cgroup: { unified: facts.cgroup.mode === 'unified', hierarchies } },
  };
}

/** The last entry of a name counts. */
function withoutRepeats(env: readonly string[]): readonly string[] {
  const last = new Map(env.map((entry, i) => [entry.split('=', 1)[0], i]));
  return last.size === env.length ? env : env.filter((entry, i) => last.get(entry.split('=', 1)[0]) === i);
}
