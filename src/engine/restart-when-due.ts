import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../ground/context.ts';
import { leaseKey, type Parts } from './parts.ts';
import { settle } from './settle.ts';
import { startLocked } from './start-locked.ts';

/** How often a waiting restart looks whether somebody has stopped or started the container. */
const lookMs = 250;

/**
 * Waits until a container in state `restarting` is due, and starts it. One process at a time does so; the others, and this one when
 * the container is no longer to be restarted, return at once. A start that fails ends the matter, as in docker.
 */
export async function restartWhenDue(parts: Parts, context: Context, id: string): Promise<void> {
  using mine = parts.leases.tryAcquire(`restart:${id}`, 'waiting to restart');
  if (mine === undefined) return;
  for (;;) {
    const record = parts.records.get(id);
    if (record === undefined || record.state !== 'restarting') return;
    const left = record.restartAt - Date.now();
    if (left <= 0) break;
    await sleep(Math.min(left, lookMs));
    context.check(`restarting ${record.name}`);
  }
  using _ = await parts.leases.acquire(context, leaseKey(id), 'restarting');
  const record = parts.records.get(id);
  if (record?.state !== 'restarting' || record.phase !== '') return;
  await startLocked(parts, context, { ...record, restartCount: record.restartCount + 1 });
}

/** Everything that follows from a container's exit: the verb of the keeper's exit command. */
export async function exited(parts: Parts, context: Context, id: string): Promise<void> {
  const record = await settle(parts, context, id);
  if (record?.state === 'restarting') await restartWhenDue(parts, context, id);
}
