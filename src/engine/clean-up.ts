import { existsSync, readFileSync } from 'node:fs';
import { rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../ground/context.ts';
import { fromSystemError, KeelsonError } from '../ground/errors.ts';
import type { Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { cgroupOf } from './run-plan.ts';

/** How long processes that were killed may take to be gone. */
const patienceMs = 10_000;

/**
 * Does what a keeper would have done, after one that was killed or a start that failed half-way: ends what still runs in the
 * container's control groups, removes them, and what the network was given. Finds nothing to do in most cases.
 */
export async function cleanUp(parts: Parts, context: Context, record: ContainerRecord): Promise<void> {
  const cgroup = cgroupOf(parts.facts, record.id);
  if (cgroup !== undefined) await removeCgroup(new Set(Object.values(cgroup.directories)));
  await parts.network.cleanUp(context, record.id);
}

async function removeCgroup(directories: ReadonlySet<string>): Promise<void> {
  const there = [...directories].filter((directory) => existsSync(directory));
  for (const deadline = Date.now() + patienceMs; there.length > 0; await sleep(2)) {
    for (const directory of there) await killAll(directory);
    for (const directory of there.slice()) {
      if (await removed(directory)) there.splice(there.indexOf(directory), 1);
    }
    if (Date.now() > deadline) {
      throw new KeelsonError(
        'unavailable',
        `processes in ${there.join(', ')} don't end, ${patienceMs / 1000} s after SIGKILL`,
      );
    }
  }
}

/** cgroup.kill (Linux 5.14) can't miss a process that is just being forked; otherwise they are killed by number, again and again. */
async function killAll(directory: string): Promise<void> {
  const kill = join(directory, 'cgroup.kill');
  if (existsSync(kill)) {
    await writeFile(kill, '1').catch(() => {});
    return;
  }
  let pids: number[];
  try {
    pids = readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  } catch {
    return;
  }
  // Frozen ones take their signal when they are thawed.
  await writeFile(join(directory, 'freezer.state'), 'THAWED', { flag: 'r+' }).catch(() => {});
  for (const pid of pids) {
    if (pid <= 1 || pid === process.pid) continue; // 0: of another pid namespace
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // gone already
    }
  }
}

async function removed(directory: string): Promise<boolean> {
  try {
    await rmdir(directory);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return true;
    if (code === 'EBUSY' || code === 'ENOTEMPTY') return false;
    throw fromSystemError(error, `removing the cgroup ${directory}`);
  }
}
