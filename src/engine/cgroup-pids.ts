import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cgroup } from '../kernel/cgroup-driver.ts';

/** Bounds what a container can make us read by nesting groups. */
const mostGroups = 10_000;

/** Every process of a container, in the host's numbers: those of its group and of the groups that it made itself. */
export async function cgroupPids(cgroup: Cgroup): Promise<readonly number[]> {
  const top =
    cgroup.directories['pids'] ??
    cgroup.directories['freezer'] ??
    cgroup.directories[''] ??
    Object.values(cgroup.directories)[0];
  const pids = new Set<number>();
  const waiting = top === undefined ? [] : [top];
  for (let seen = 0; waiting.length > 0 && seen < mostGroups; seen++) {
    const directory = waiting.pop() as string;
    const text = await readFile(join(directory, 'cgroup.procs'), 'utf8').catch(() => '');
    for (const line of text.split('\n')) if (Number(line) > 0) pids.add(Number(line));
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) if (entry.isDirectory()) waiting.push(join(directory, entry.name));
  }
  return [...pids].toSorted((a, b) => a - b);
}
