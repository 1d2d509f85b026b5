import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '../ground/context.ts';
import { isKeelsonError } from '../ground/errors.ts';
import { type KeeperStatus, status as keeperStatus } from '../kernel/keeper.ts';
import { currentBoot, startTimeOf } from '../store/process-identity.ts';
import { cleanUp } from './clean-up.ts';
import { containerEvent } from './container-events.ts';
import { hasExitRecord } from './exit-record.ts';
import { containerPaths, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { removeLocked } from './remove-locked.ts';
import { settleLocked } from './settle.ts';

/** A keeper whose planner died before the start undoes everything by itself; longer than this it doesn't take. */
const undoPatienceMs = 20_000;

/**
 * Brings one container in line with what runs, for the holder of its lease: records an exit, and finishes or undoes what a process that died
 * meanwhile had begun (whoever is still at it would hold the lease). The record as it is then; undefined when the container is gone.
 */
export async function recoverLocked(parts: Parts, record: ContainerRecord): Promise<ContainerRecord | undefined> {
  // What was begun is finished, even when the command at hand is cut off.
  const context = new Context();
  switch (record.phase) {
    case '':
      return settleLocked(parts, context, record);
    case 'creating':
    case 'removing with volumes':
      await removeLocked(parts, context, record, { volumes: true });
      return undefined;
    case 'removing':
      await removeLocked(parts, context, record, { volumes: false });
      return undefined;
    default:
      await recoverStart(parts, context, record);
      return parts.records.get(record.id);
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
      phase: record.spec.config.autoRemove ? 'removing with volumes' : '',
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
