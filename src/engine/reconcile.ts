import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '../ground/context.ts';
import { isKeelsonError } from '../ground/errors.ts';
import { type KeeperStatus, status as keeperStatus } from '../kernel/keeper.ts';
import { currentBoot, startTimeOf } from '../store/process-identity.ts';
import { cleanUp } from './clean-up.ts';
import { containerEvent } from './container-events.ts';
import { hasExitRecord } from './exit-record.ts';
import { containerPaths, leaseKey, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { removeLocked } from './remove-locked.ts';
import { restartWhenDue } from './restart-when-due.ts';
import { settleLocked } from './settle.ts';
import { isStale } from './with-container.ts';

/** A keeper whose planner died before the start undoes everything by itself; longer than this it doesn't take. */
const undoPatienceMs = 20_000;

/**
 * Brings the store in line with what runs: exits nobody recorded, keepers that were lost, and what processes that died in the middle
 * of creating, starting or removing a container have left. Cheap where there is nothing to do: one query, two looks at the file
 * system for each container that runs. What another living process is at is left to it. Returns what could not be done; it
 * stays for the next time.
 */
export async function reconcile(parts: Parts, context: Context): Promise<readonly unknown[]> {
  const errors: unknown[] = [];
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      errors.push(error);
    }
  };
  for (const record of parts.records.unsettled()) {
    context.check('reconciling');
    if (record.phase !== '' || isStale(parts, record)) await attempt(async () => reconcileOne(parts, record.id));
    const now = record.state === 'restarting' ? record : parts.records.get(record.id);
    // One that isn't due yet has a process that waits for it, or will be seen to by the next command.
    if (now?.state === 'restarting' && now.restartAt <= Date.now()) {
      await attempt(async () => restartWhenDue(parts, context, record.id));
    }
  }
  await attempt(async () => parts.volumes.reconcile(context));
  await attempt(async () => parts.images.recover(context));
  await attempt(async () => parts.trash.sweep());
  return errors;
}

async function reconcileOne(parts: Parts, id: string): Promise<void> {
  using lease = parts.leases.tryAcquire(leaseKey(id), 'reconciling');
  if (lease === undefined) return;
  const record = parts.records.get(id);
  if (record === undefined) return;
  // What was begun is finished, even when the command at hand is cut off.
  const context = new Context();
  switch (record.phase) {
    case '':
      await settleLocked(parts, context, record);
      return;
    case 'creating':
      await removeLocked(parts, context, record, { volumes: true });
      return;
    case 'removing':
      await removeLocked(parts, context, record, { volumes: false });
      return;
    case 'removing with volumes':
      await removeLocked(parts, context, record, { volumes: true });
      return;
    case 'starting':
      await recoverStart(parts, context, record);
      return;
  }
}

/** The process that started it died before it could write down what came of it. The keeper knows. */
async function recoverStart(parts: Parts, context: Context, record: ContainerRecord): Promise<void> {
  const at = containerPaths(parts.paths, record.id);
  const keeper = await settledStatus(at.socket);
  if (keeper !== undefined || hasExitRecord(at.exitRecord)) {
    const change = {
      state: 'running',
      phase: '',
      exitCode: 0,
      error: '',
      finishedAt: 0,
      startedAt: keeper && keeper.startedAt > 0n ? Number(keeper.startedAt / 1_000_000n) : Date.now(),
      ...(keeper && {
        pid: keeper.pid,
        pidStart: startTimeOf(keeper.pid) ?? 0,
        keeper: keeper.keeperPid,
        keeperStart: startTimeOf(keeper.keeperPid) ?? 0,
        boot: currentBoot(),
      }),
    } as const;
    parts.db.immediate(() => {
      parts.records.update(record.id, change);
      containerEvent(parts, record, 'start');
    });
    await settleLocked(parts, context, { ...record, ...change });
    return;
  }
  await cleanUp(parts, context, record);
  parts.db.immediate(() => {
    parts.network.release(record.id);
    parts.records.update(record.id, {
      phase: '',
      state: record.startedAt === 0 ? 'created' : 'exited',
      pid: 0,
      keeper: 0,
      network: {},
      exitCode: 128,
      error: 'the start was interrupted: the process that made it was killed',
    });
  });
  if (record.spec.config.autoRemove) await removeLocked(parts, context, record, { volumes: true });
}

/** What the keeper says once it is past its gate; undefined when there is none, or none any more. */
async function settledStatus(socket: string): Promise<KeeperStatus | undefined> {
  for (const deadline = Date.now() + undoPatienceMs; Date.now() < deadline; await sleep(5)) {
    try {
      const status = await keeperStatus(socket);
      if (status.state !== 'waiting' && status.state !== 'starting') return status;
    } catch (error) {
      if (isKeelsonError(error, 'not-found') || isKeelsonError(error, 'unavailable')) return undefined;
      throw error;
    }
  }
  return undefined;
}
