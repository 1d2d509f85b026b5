import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../ground/context.ts';
import { cleanUp } from './clean-up.ts';
import { containerEvent, networkEvent } from './container-events.ts';
import { removeRunFiles } from './container-files.ts';
import { type ExitRecord, keeperAlive, readExitRecord } from './exit-record.ts';
import { containerPaths, leaseKey, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { removeLocked } from './remove-locked.ts';
import { restartDelay } from './restart-policy.ts';

/** How long a keeper may take from its exit record to the end of its exit plan. */
const exitPlanMs = 15_000;

/**
 * Brings the store in line with a container whose process has ended: network given back, state, event; then removes it or makes
 * it wait for its restart, as its configuration says. Returns the record as it is now, undefined when the container is gone.
 * Any process may call it at any time; what is settled or still runs is left as it is.
 */
export async function settle(parts: Parts, context: Context, id: string): Promise<ContainerRecord | undefined> {
  using _ = await parts.leases.acquire(context, leaseKey(id), 'recording an exit');
  const record = parts.records.get(id);
  return record && (await settleLocked(parts, context, record)); // awaited here: the lease is held until then
}

/** The same for the holder of the container's lease. */
export async function settleLocked(
  parts: Parts,
  context: Context,
  record: ContainerRecord,
): Promise<ContainerRecord | undefined> {
  if (record.phase !== '' || (record.state !== 'running' && record.state !== 'paused')) return record;
  const at = containerPaths(parts.paths, record.id);
  let exit = readExitRecord(at.exitRecord);
  if (exit === undefined) {
    if (keeperAlive(record)) return record;
    exit = readExitRecord(at.exitRecord); // its last deed may have been in between
  }
  const done = exit !== undefined && (await exitPlanDone(record, at.socket));
  if (!done) await cleanUp(parts, context, record);
  const next = recordExit(parts, record, exit);
  await removeRunFiles(at);
  if (!record.spec.config.autoRemove) return next;
  await removeLocked(parts, context, next, { volumes: true });
  return undefined;
}

/** The keeper takes its socket away after its exit plan. False when it died before, or doesn't come to an end. */
async function exitPlanDone(record: ContainerRecord, socket: string): Promise<boolean> {
  for (const deadline = Date.now() + exitPlanMs; existsSync(socket); await sleep(1)) {
    if (!keeperAlive(record) || Date.now() > deadline) return !existsSync(socket);
  }
  return true;
}

/** One transaction. Without an exit record the keeper was lost, and took the process with it. */
function recordExit(parts: Parts, record: ContainerRecord, exit: ExitRecord | undefined): ContainerRecord {
  const finishedAt = exit?.finishedAt ?? Date.now();
  const exitCode = exit?.exitCode ?? 137;
  const ranMs = finishedAt - record.startedAt;
  const delay = restartDelay(record.spec.config.restart, { ...record, exitCode, ranMs });
  const change = {
    // In the same transaction, so that no death in between leaves it.
    phase: record.spec.config.autoRemove ? 'removing with volumes' : '',
    state: delay === undefined ? 'exited' : 'restarting',
    pid: 0,
    pidStart: 0,
    keeper: 0,
    keeperStart: 0,
    exitCode,
    oomKilled: exit?.oomKilled ?? false,
    error: exit === undefined ? lostKeeper(record) : '',
    finishedAt,
    restartAt: delay === undefined ? 0 : finishedAt + delay,
    network: {},
  } as const;
  parts.db.immediate(() => {
    parts.network.release(record.id);
    parts.records.update(record.id, change);
    if (change.oomKilled) containerEvent(parts, record, 'oom');
    containerEvent(parts, record, 'die', {
      exitCode: String(exitCode),
      execDuration: String(Math.max(0, Math.floor(ranMs / 1000))),
    });
    networkEvent(parts, record, 'disconnect');
  });
  return { ...record, ...change };
}

function lostKeeper(record: ContainerRecord): string {
  return `the container's keeper (process ${record.keeper}) was lost without an exit record: killed, or the machine was restarted`;
}
