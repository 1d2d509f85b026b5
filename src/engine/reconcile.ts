import type { Context } from '../ground/context.ts';
import { leaseKey, type Parts } from './parts.ts';
import { recoverLocked } from './recover.ts';
import { removeLocked } from './remove-locked.ts';
import { restartWhenDue } from './restart-when-due.ts';
import { isStale } from './with-container.ts';

/**
 * Brings the store in line with what runs: exits nobody recorded, keepers that were lost, and what processes that died in the middle
 * of creating, starting or removing a container have left. Cheap where there is nothing to do: one query, two looks at the file
 * system for each container that runs. What another living process is at is left to it. Returns what could not be done; it
 * stays for the next time.
 */
export async function reconcile(parts: Parts, context: Context): Promise<readonly unknown[]> {
  const errors = [...(await reconcileContainers(parts, context))];
  for (const work of [
    async () => parts.volumes.reconcile(context),
    async () => parts.images.recover(context),
    async () => parts.trash.sweep(),
  ]) {
    await work().catch((error: unknown) => errors.push(error));
  }
  return errors;
}

/** The part of it that concerns containers. */
export async function reconcileContainers(parts: Parts, context: Context): Promise<readonly unknown[]> {
  const errors: unknown[] = [];
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      errors.push(error);
    }
  };
  for (const key of parts.leases.abandoned()) await attempt(async () => removeUnstarted(parts, context, key));
  for (const record of parts.records.unsettled()) {
    context.check('reconciling');
    if (record.phase !== '' || isStale(parts, record)) await attempt(async () => reconcileOne(parts, record.id));
    const now = record.state === 'restarting' ? record : parts.records.get(record.id);
    // One that isn't due yet has a process that waits for it, or will be seen to by the next command.
    if (now?.state === 'restarting' && now.restartAt <= Date.now()) {
      await attempt(async () => restartWhenDue(parts, context, record.id));
    }
  }
  return errors;
}

async function reconcileOne(parts: Parts, id: string): Promise<void> {
  using lease = parts.leases.tryAcquire(leaseKey(id), 'reconciling');
  if (lease === undefined) return;
  const record = parts.records.get(id);
  if (record !== undefined) await recoverLocked(parts, record);
}

/** Its maker, which was to start it and to remove it, was killed in between. `key` is its lease's. */
async function removeUnstarted(parts: Parts, context: Context, key: string): Promise<void> {
  using lease = parts.leases.tryAcquire(key, 'reconciling');
  if (lease === undefined) return;
  const record = parts.records.get(key.slice(leaseKey('').length));
  const unstarted = record?.state === 'created' && record.phase === '' && record.generation === 0;
  if (unstarted) await removeLocked(parts, context, record, { volumes: true });
  parts.leases.settle(key);
}
