/** Which processors a process may run on (sched_setaffinity(2)). */
import { KeelsonError } from '../ground/errors.ts';
import type { BlobRef, Value } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';

/** As many as Linux can be built for on the machines that keel runs on. */
const maxCpus = 8192;

/** `0-3,7`, ranges with a stride too (`0-31:2/4`), as a set of numbers in cpu_set_t's layout. */
export function cpuMask(list: string): Uint8Array {
  const bytes = new Uint8Array(maxCpus / 8);
  for (const part of list.split(',')) {
    const match = /^\s*(\d+)(?:-(\d+)(?::(\d+)\/(\d+))?)?\s*$/.exec(part);
    if (!match) {
      if (part.trim() === '') continue;
      throw new KeelsonError('invalid-argument', `bad list of CPUs: ${list}`);
    }
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    const [used, group] = [Number(match[3] ?? 1), Number(match[4] ?? 1)];
    if (last >= maxCpus || last < first || used > group || used < 1)
      throw new KeelsonError('invalid-argument', `bad list of CPUs: ${list}`);
    for (let cpu = first; cpu <= last; cpu++) {
      if ((cpu - first) % group < used) bytes[cpu >> 3] = (bytes[cpu >> 3] ?? 0) | (1 << (cpu & 7));
    }
  }
  return bytes;
}

/** The same as one number. */
export function cpuBits(list: string): bigint {
  return BigInt(`0x${Buffer.from(cpuMask(list)).reverse().toString('hex')}`);
}

export function setAffinity(b: PlanBuilder, pid: Value, list: string, which: string): void {
  const mask = cpuMask(list);
  b.group('exec').doing(`setting the ${which} CPU affinity to ${list}`);
  b.sys('sched_setaffinity', [pid, mask.length, b.blob(mask, `{${list}}`)]);
}

/** Every processor that the control group allows: what the caller is tied to is no business of the container. */
export function resetAffinity(b: PlanBuilder): void {
  b.group('exec').doing('resetting the CPU affinity');
  const all = b.blob(new Uint8Array(maxCpus / 8).fill(0xff), '{all}');
  b.sys('sched_setaffinity', [0, maxCpus / 8, all], { on: { any: 'continue' } });
}

/** This process moves to the processors in `list`, so that its children are born there; undone by what is returned. */
export function borrowAffinity(b: PlanBuilder, list: string): () => void {
  const before: BlobRef = b.blob(maxCpus / 8, 'affinity');
  b.group('exec').doing('reading the CPU affinity');
  const size = b.sys('sched_getaffinity', [0, maxCpus / 8, before]);
  setAffinity(b, 0, list, 'initial');
  return () => {
    b.group('exec').doing('restoring the CPU affinity');
    b.sys('sched_setaffinity', [0, size, before], { on: { any: 'continue' } });
  };
}
