import type { Context } from '../ground/context.ts';
import { isKeelsonError } from '../ground/errors.ts';
import { waitExit } from '../kernel/keeper.ts';
import { containerPaths, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { settle } from './settle.ts';
import { Wakeups } from './wakeups.ts';
import { current } from './with-container.ts';

/** Resolves with the exit code: of the last run when the container doesn't run, unless the `next-exit` is asked for. */
export async function wait(
  parts: Parts,
  context: Context,
  reference: string,
  condition: 'not-running' | 'next-exit' | 'removed' = 'not-running',
): Promise<number> {
  const first = await current(parts, context, reference);
  let { exitCode } = first;
  using woken = new Wakeups([`${parts.db.path}-wal`]);
  for (let record: ContainerRecord | undefined = first; record !== undefined; record = parts.records.get(first.id)) {
    if (record.phase === '' && (record.state === 'running' || record.state === 'paused')) {
      exitCode = await exitOf(parts, context, record);
      if (condition !== 'removed') return exitCode;
      continue;
    }
    if (condition === 'not-running' && record.phase !== 'starting' && record.state !== 'restarting') return exitCode;
    // It ran and ended between two looks.
    if (condition === 'next-exit' && record.finishedAt > first.finishedAt) return record.exitCode;
    await woken.next(context.signal);
    context.check(`waiting for ${first.name}`);
  }
  return exitCode;
}

/** Waits for the end of a container that runs, and records it; its exit code. */
export async function exitOf(parts: Parts, context: Context, record: ContainerRecord): Promise<number> {
  let exitCode: number | undefined;
  try {
    ({ exitCode } = await waitExit(containerPaths(parts.paths, record.id).socket, context.signal));
  } catch (error) {
    context.check(`waiting for ${record.name}`);
    // Its keeper is gone: there is an exit record, or it was lost.
    if (!isKeelsonError(error, 'not-found') && !isKeelsonError(error, 'unavailable')) throw error;
  }
  const settled = await settle(parts, context, record.id);
  return exitCode ?? settled?.exitCode ?? record.exitCode;
}
