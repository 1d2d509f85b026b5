import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import type { Context } from '../ground/context.ts';
import { cgroupDriver, readText } from '../kernel/cgroup.ts';
import type { Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { cgroupOf } from './run-plan.ts';
import type { Stats } from './types.ts';
import { Wakeups } from './wakeups.ts';
import { current } from './with-container.ts';

const periodMs = 1000;
const nanosecondsPerTick = 10_000_000;

/** What the container uses: one sample, or one a second for as long as it is there. All zero while it doesn't run. */
export async function* stats(
  parts: Parts,
  context: Context,
  reference: string,
  options: { stream?: boolean } = {},
): AsyncGenerator<Stats> {
  const { id } = await current(parts, context, reference);
  using pauses = new Wakeups([]);
  for (let next = Date.now(); ; next += periodMs) {
    const record = parts.records.get(id);
    if (record === undefined) return;
    yield sample(parts, record);
    if (!options.stream) return;
    while (Date.now() < next + periodMs && !context.signal.aborted) {
      await pauses.next(context.signal, next + periodMs - Date.now());
    }
    if (context.signal.aborted) return;
  }
}

function sample(parts: Parts, record: ContainerRecord): Stats {
  const cgroup = record.state === 'running' || record.state === 'paused' ? cgroupOf(parts.facts, record.id) : undefined;
  const used = cgroup && cgroupDriver(parts.facts.cgroup).stats(cgroup, readText);
  const network = used ? networkBytes(record.pid) : { rx: 0, tx: 0 };
  const limit = used?.memory.limit;
  const sum = (key: 'readBytes' | 'writeBytes'): number =>
    (used?.io ?? []).reduce((all, device) => all + device[key], 0);
  return {
    id: record.id,
    name: record.name,
    readAt: Date.now(),
    cpuTotal: used?.cpu.total ?? 0,
    cpuSystem: used ? systemCpu() : 0,
    onlineCpus: availableParallelism(),
    memoryUsage: used?.memory.usage ?? 0,
    memoryLimit: used ? Math.min(limit ?? Number.POSITIVE_INFINITY, totalmem()) : 0,
    networkRx: network.rx,
    networkTx: network.tx,
    blockRead: sum('readBytes'),
    blockWrite: sum('writeBytes'),
    pids: used?.pids.current ?? 0,
  };
}

/** All time that the machine's processors have spent, idle too: the first line of /proc/stat, without guest time (it counts as user). */
function systemCpu(): number {
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1);
  const ticks = line.split(/\s+/).slice(1, 9).map(Number);
  return ticks.reduce((all, n) => all + n, 0) * nanosecondsPerTick;
}

/** What all links but the loopback have carried, in the namespace of the container's first process. */
function networkBytes(pid: number): { rx: number; tx: number } {
  const total = { rx: 0, tx: 0 };
  for (const line of (readText(`/proc/${pid}/net/dev`) ?? '').split('\n')) {
    const match = /^\s*([^:\s]+):\s*(.*)$/.exec(line);
    if (!match || match[1] === 'lo') continue;
    const fields = (match[2] ?? '').trim().split(/\s+/).map(Number);
    total.rx += fields[0] ?? 0;
    total.tx += fields[8] ?? 0;
  }
  return total;
}
