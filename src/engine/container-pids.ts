import { readdirSync, readlinkSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cgroup } from '../kernel/cgroup-driver.ts';
import type { HostFacts } from '../kernel/facts.ts';
import type { ContainerRecord } from './record.ts';
import { cgroupOf } from './run-plan.ts';

/** Bounds what a container can make us read by nesting groups. */
const mostGroups = 10_000;

/**
 * Every process of a running container, in the host's numbers: those of its control group and of the groups that it made itself; of one without a
 * group of its own, those in its pid namespace.
 */
export async function containerPids(facts: HostFacts, record: ContainerRecord): Promise<readonly number[]> {
  const cgroup = cgroupOf(facts, record.id);
  const pids = cgroup ? await inGroups(cgroup) : inNamespace(record.pid);
  return pids.toSorted((a, b) => a - b);
}

async function inGroups({ directories }: Cgroup): Promise<number[]> {
  const top = directories['pids'] ?? directories['freezer'] ?? directories[''] ?? Object.values(directories)[0];
  const pids = new Set<number>();
  const waiting = top === undefined ? [] : [top];
  for (let seen = 0; waiting.length > 0 && seen < mostGroups; seen++) {
    const directory = waiting.pop() as string;
    const text = await readFile(join(directory, 'cgroup.procs'), 'utf8').catch(() => '');
    for (const line of text.split('\n')) if (Number(line) > 0) pids.add(Number(line));
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) if (entry.isDirectory()) waiting.push(join(directory, entry.name));
  }
  return [...pids];
}

function inNamespace(pid: number): number[] {
  const namespaceOf = (name: string): string | undefined => {
    try {
      return readlinkSync(`/proc/${name}/ns/pid`);
    } catch {
      return undefined; // gone, or somebody else's
    }
  };
  const wanted = namespaceOf(String(pid));
  if (wanted === undefined || wanted === namespaceOf('self')) return [pid];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && namespaceOf(name) === wanted)
    .map(Number);
}
