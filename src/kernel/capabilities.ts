import { KeelsonError } from '../ground/errors.ts';
import type { LinuxCapabilities } from '../spec/runtime.ts';

/** Names without CAP_, at the index of their number (linux/capability.h, Linux 5.9 to 7.2). */
const names = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
] as const;

/** All of them with CAP_, in the order of their numbers. */
export const capabilityNames: readonly string[] = names.map((name) => `CAP_${name}`);

/** What a container gets unless told otherwise: docker's set. */
export const defaultCapabilities: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
];

const numbers = new Map(capabilityNames.map((name, number) => [name, number]));

/** The number of a name, with or without CAP_, in any case; undefined for an unknown one. */
export function capabilityNumber(name: string): number | undefined {
  const upper = name.toUpperCase();
  return numbers.get(upper.startsWith('CAP_') ? upper : `CAP_${upper}`);
}

/**
 * What a container is left with when `add` and `drop` (docker's --cap-add, --cap-drop) change `from`: drops first, then adds;
 * with ALL added, everything but the drops. Names in any form come back with CAP_. Unknown ones are `invalid-argument`.
 */
export function adjustCapabilities(
  from: readonly string[],
  add: readonly string[],
  drop: readonly string[],
  available: readonly string[] = capabilityNames,
): readonly string[] {
  const [adding, dropping] = [add.map(normalize), drop.map(normalize)];
  let kept = new Set(from);
  if (adding.includes('ALL')) kept = new Set(available);
  else if (dropping.includes('ALL')) kept = new Set();
  for (const name of dropping) if (name !== 'ALL') kept.delete(name);
  if (!adding.includes('ALL')) for (const name of adding) kept.add(name);
  return capabilityNames.filter((name) => kept.has(name));
}

function normalize(name: string): string {
  if (name.toUpperCase() === 'ALL') return 'ALL';
  const number = capabilityNumber(name);
  if (number === undefined) throw new KeelsonError('invalid-argument', `unknown capability ${JSON.stringify(name)}`);
  return capabilityNames[number] as string;
}

/** The five sets as numbers in ascending order. */
export interface CapabilityNumbers {
  readonly bounding: readonly number[];
  readonly effective: readonly number[];
  readonly permitted: readonly number[];
  readonly inheritable: readonly number[];
  readonly ambient: readonly number[];
}

/**
 * The sets of a config as numbers, without what is unknown or not in `available` (this process's own bounding set): each such name
 * is told to `warn` once, as the specification demands (config.md#linux-process), and the container starts without it.
 * Ambient ones that are not also permitted and inheritable are left out: the kernel refuses them (capabilities(7)).
 */
export function capabilitySets(
  sets: LinuxCapabilities,
  options: { available?: readonly number[]; warn?: (message: string) => void } = {},
): CapabilityNumbers {
  const told = new Set<string>();
  const warn = (name: string, message: string) => {
    if (!told.has(name)) options.warn?.(message);
    told.add(name);
  };
  const reject = (name: string, why: string) => warn(name, `capability ${name} ${why}`);
  const toNumbers = (list: readonly string[] = []): number[] => {
    const found = new Set<number>();
    for (const name of list) {
      const number = capabilityNumber(name);
      if (number === undefined) reject(name, 'is unknown');
      else if (options.available && !options.available.includes(number)) reject(name, 'cannot be granted here');
      else found.add(number);
    }
    return [...found].sort((a, b) => a - b);
  };
  const [bounding, effective] = [toNumbers(sets.bounding), toNumbers(sets.effective)];
  const [permitted, inheritable] = [toNumbers(sets.permitted), toNumbers(sets.inheritable)];
  const ambient = toNumbers(sets.ambient).filter((c) => {
    const possible = permitted.includes(c) && inheritable.includes(c);
    const name = capabilityNames[c] as string;
    if (!possible) warn(name, `can't raise ambient capability ${name}: it is not both permitted and inheritable`);
    return possible;
  });
  return { bounding, effective: effective.filter((c) => permitted.includes(c)), permitted, inheritable, ambient };
}

/** The numbers in a mask such as `CapBnd:` of /proc/<pid>/status, hexadecimal. */
export function parseCapabilityMask(hex: string): readonly number[] {
  const mask = BigInt(`0x${hex.trim() || '0'}`);
  return Array.from({ length: 64 }, (_, i) => i).filter((i) => (mask >> BigInt(i)) & 1n);
}
