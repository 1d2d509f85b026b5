/** Annotations of a config that ask an OCI runtime for what the specification has no words for: crun's `run.oci.*`. */
import { isAbsolute } from 'node:path';
import { KeelsonError } from '../../ground/errors.ts';
import type { Spec } from '../../spec/runtime.ts';

export interface Extensions {
  /** Leave the supplementary groups of the caller as they are. */
  readonly keepGroups: boolean;
  /** A seccomp profile that names an unknown system call is an error. */
  readonly knownCallsOnly: boolean;
  /** A compiled filter instead of the config's profile. */
  readonly seccompFilter?: Uint8Array;
  /** Where the listener of a seccomp filter goes when the profile does not say. */
  readonly seccompReceiver?: string;
  readonly pidfdReceiver?: string;
  /** Files for what hooks print. */
  readonly hooksStdout?: string;
  readonly hooksStderr?: string;
}

/** All that are understood; `run.oci.systemd.*` and `run.oci.delegate-cgroup` are the cgroup driver's. */
export const annotationNames = {
  keepGroups: 'run.oci.keep_original_groups',
  knownCallsOnly: 'run.oci.seccomp_fail_unknown_syscall',
  seccompFilter: 'run.oci.seccomp_bpf_data',
  seccompReceiver: 'run.oci.seccomp.receiver',
  pidfdReceiver: 'run.oci.pidfd_receiver',
  hooksStdout: 'run.oci.hooks.stdout',
  hooksStderr: 'run.oci.hooks.stderr',
} as const;

export function extensionsOf({ annotations = {} }: Spec): Extensions {
  const text = (key: keyof typeof annotationNames): string | undefined => annotations[annotationNames[key]];
  const flag = (key: keyof typeof annotationNames): boolean => ![undefined, '', '0'].includes(text(key));
  const path = (key: keyof typeof annotationNames): string | undefined => {
    const value = text(key);
    if (value === undefined || isAbsolute(value)) return value;
    throw invalid(key, 'must be an absolute path');
  };
  const filter = text('seccompFilter');
  const given = {
    seccompFilter: filter === undefined ? undefined : decodeFilter(filter),
    seccompReceiver: path('seccompReceiver'),
    pidfdReceiver: path('pidfdReceiver'),
    hooksStdout: path('hooksStdout'),
    hooksStderr: path('hooksStderr'),
  };
  return {
    keepGroups: flag('keepGroups'),
    knownCallsOnly: flag('knownCallsOnly'),
    ...(Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Partial<Extensions>),
  };
}

/** struct sock_filter[], 8 bytes each, in base64. */
function decodeFilter(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  if (!/^[A-Za-z0-9+/\s]+={0,2}\s*$/.test(text) || bytes.length === 0 || bytes.length % 8 !== 0)
    throw invalid('seccompFilter', 'must be a filter (struct sock_filter[]) in base64');
  return bytes;
}

function invalid(key: keyof typeof annotationNames, why: string): KeelsonError {
  return new KeelsonError('invalid-argument', `config.json: annotations["${annotationNames[key]}"]: ${why}`);
}
