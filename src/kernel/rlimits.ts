import { KeelsonError } from '../ground/errors.ts';
import type { Int64, Rlimit } from '../spec/runtime.ts';

/** Numbers of setrlimit(2), the same on x86_64 and arm64 (asm-generic/resource.h). */
const numbers: Readonly<Record<string, number>> = {
  CPU: 0,
  FSIZE: 1,
  DATA: 2,
  STACK: 3,
  CORE: 4,
  RSS: 5,
  NPROC: 6,
  NOFILE: 7,
  MEMLOCK: 8,
  AS: 9,
  LOCKS: 10,
  SIGPENDING: 11,
  MSGQUEUE: 12,
  NICE: 13,
  RTPRIO: 14,
  RTTIME: 15,
};

/** RLIM_INFINITY. */
export const unlimited: bigint = 2n ** 64n - 1n;

/** The number of a limit as `RLIMIT_NOFILE`, or as docker's `nofile`; `invalid-argument` for an unknown one. */
export function rlimitNumber(name: string): number {
  const upper = name.toUpperCase();
  const short = upper.startsWith('RLIMIT_') ? upper.slice(7) : upper;
  if (Object.hasOwn(numbers, short)) return numbers[short] as number;
  throw new KeelsonError(
    'invalid-argument',
    `unknown limit ${JSON.stringify(name)}: not one of ${Object.keys(numbers).join(', ').toLowerCase()}`,
  );
}

/** Docker's ulimit (`nofile`, -1 for no limit) as the specification has it. */
export function toRlimit(ulimit: { name: string; soft: number; hard: number }): Rlimit {
  rlimitNumber(ulimit.name);
  const amount = (n: number): Int64 => (n === -1 ? unlimited : n);
  return { type: `RLIMIT_${ulimit.name.toUpperCase()}`, soft: amount(ulimit.soft), hard: amount(ulimit.hard) };
}

/** struct rlimit64 {u64 cur, max} of prlimit(2). */
export function rlimitBytes(limit: Rlimit): Uint8Array {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(BigInt(limit.soft), 0);
  bytes.writeBigUInt64LE(BigInt(limit.hard), 8);
  return bytes;
}
