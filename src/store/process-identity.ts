import { readFileSync } from 'node:fs';

/** A process that can't be mistaken for another one that got its pid later: start time in clock ticks after that boot. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly start: number;
  readonly boot: string;
}

let bootId: string | undefined;

/** This boot of the kernel (random(4)). */
export function currentBoot(): string {
  bootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return bootId;
}

/** Field 22 of /proc/<pid>/stat (proc_pid_stat(5)); undefined when there is no such process, or it is a zombie. */
export function startTimeOf(pid: number): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The command's name may hold spaces and parentheses; the last one ends it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state] = fields;
  return state === 'Z' || state === 'X' ? undefined : Number(fields[19]);
}

export function identityOf(pid: number): ProcessIdentity | undefined {
  const start = startTimeOf(pid);
  return start === undefined ? undefined : { pid, start, boot: currentBoot() };
}

/** Whether that very process still runs. */
export function isAlive(identity: ProcessIdentity): boolean {
  return identity.boot === currentBoot() && startTimeOf(identity.pid) === identity.start;
}

let own: ProcessIdentity | undefined;

export function ownIdentity(): ProcessIdentity {
  own ??= { pid: process.pid, start: startTimeOf(process.pid) ?? 0, boot: currentBoot() };
  return own;
}
