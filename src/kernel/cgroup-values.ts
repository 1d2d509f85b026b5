/** What both versions of control groups share: numbers in, numbers out. */
import { join } from 'node:path';
import { KeelsonError } from '../ground/errors.ts';
import type { Int64, LinuxResources } from '../spec/runtime.ts';
import type { ReadText } from './cgroup-driver.ts';

/** A limit that is asked for: 0 stands for "not set" in documents written by Go programs. */
export function wanted(value: Int64 | undefined): Int64 | undefined {
  return value === undefined || BigInt(value) === 0n ? undefined : value;
}

/** -1 (anything negative) for no limit. A container has one process at least, which is also what 0 comes to (as with runc and systemd). */
export function limitOf(value: Int64 | undefined): string | undefined {
  if (value === undefined) return undefined;
  return value < 0 ? 'max' : value == 0 ? '1' : String(value);
}

/** `8:16 rate` */
export function perDevice({ major, minor }: { major: number; minor: number }, value: Int64): string {
  return `${major}:${minor} ${value}`;
}

/** Refuses what no kernel accepts, with the reason the kernel would not give. */
export function checkLimits({ memory = {}, cpu = {}, blockIO = {} }: LinuxResources): void {
  const [limit, swap] = [wanted(memory.limit), wanted(memory.swap)];
  const refuse = (message: string): never => {
    throw new KeelsonError('invalid-argument', message);
  };
  if (swap !== undefined && swap > 0) {
    if (limit === undefined) refuse('a limit of memory and swap needs a limit of memory');
    else if (limit > 0 && swap < limit)
      refuse(`the limit of memory and swap (${swap}) is below that of memory (${limit})`);
  }
  if (memory.swappiness !== undefined && memory.swappiness > 100) refuse('memory swappiness goes from 0 to 100');
  const period = wanted(cpu.period);
  if (period !== undefined && (period < 1000 || period > 1_000_000)) {
    refuse(`a cpu period has 1000 to 1000000 microseconds, not ${period}`);
  }
  const quota = wanted(cpu.quota);
  if (quota !== undefined && quota > 0 && quota < 1000)
    refuse(`a cpu quota has 1000 microseconds at least, not ${quota}`);
  if (quota !== undefined && quota > 0 && cpu.burst !== undefined && cpu.burst > quota) {
    refuse(`a cpu burst (${cpu.burst}) is not above the quota (${quota})`);
  }
  const { weight } = blockIO;
  if (weight && (weight < 10 || weight > 1000)) refuse(`a block I/O weight goes from 10 to 1000, not ${weight}`);
}

/** Refuses a group that others are in, or that is frozen: a container started there would be theirs, or never run. */
export function checkFree(directory: string, path: string, read: ReadText): void {
  const inside = (read(join(directory, 'cgroup.procs')) ?? '').trim();
  const below = /^populated 1$/m.test(read(join(directory, 'cgroup.events')) ?? '');
  if (inside !== '' || below) {
    throw new KeelsonError('conflict', `container's cgroup is not empty: ${path} has processes in it`);
  }
  const frozen = read(join(directory, 'cgroup.freeze'))?.trim() === '1';
  if (frozen || read(join(directory, 'freezer.state'))?.startsWith('FR')) {
    throw new KeelsonError('conflict', `container's cgroup unexpectedly frozen: ${path}`);
  }
}

/** The number in a file; undefined for none, or `max`. */
export function numberIn(read: ReadText, path: string): number | undefined {
  const text = read(path)?.trim();
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Lines of `name value`. */
export function parseFlat(text: string | undefined): Readonly<Record<string, number>> {
  const result: Record<string, number> = Object.create(null) as Record<string, number>;
  for (const [, name, value] of (text ?? '').matchAll(/^(\S+) (\d+)$/gm)) result[name as string] = Number(value);
  return result;
}

/** How many processes the kernel killed for want of memory, from memory.oom_control (v1) or memory.events (v2). */
export function oomKills(text: string): number {
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}
