import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../ground/context.ts';
import { isKeelsonError, KeelsonError } from '../ground/errors.ts';
import { kill as killKept } from '../kernel/keeper.ts';
import { signalName, signalNumber } from '../kernel/signals.ts';
import { containerEvent } from './container-events.ts';
import { thaw } from './pause.ts';
import { containerPaths, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { startLocked } from './start-locked.ts';
import { exitOf } from './wait.ts';
import { current, withContainer } from './with-container.ts';

const SIGKILL = 9;
const defaultTimeout = 10;
/** After SIGKILL, before it is given up. */
const killPatienceMs = 10_000;

export interface StopOptions {
  /** Seconds until SIGKILL; negative: never. */
  readonly timeout?: number;
  readonly signal?: string;
}

/**
 * Asks the process to end, and ends it when it doesn't. The container's lease is not held while it takes its time: a `kill` or
 * `rm -f` need not wait. Nothing happens when it doesn't run.
 */
export async function stop(
  parts: Parts,
  context: Context,
  reference: string,
  options: StopOptions = {},
): Promise<void> {
  const found = await current(parts, context, reference);
  const { config } = found.spec;
  const signal = signalNumber(options.signal || config.stopSignal || 'SIGTERM');
  const timeout = options.timeout ?? config.stopTimeout ?? defaultTimeout;
  const record = await giveUpRestart(parts, context, found.id);
  if (record === undefined) return;
  const ended = exitOf(parts, context, record);
  ended.catch(() => {}); // looked at below, unless the signal can't be sent
  await send(parts, record, signal);
  if (record.state === 'paused') await thaw(parts, context, record);
  const inTime = timeout < 0 ? await ended.then(() => true) : await settledWithin(ended, timeout * 1000);
  if (!inTime) {
    await send(parts, record, SIGKILL);
    if (!(await settledWithin(ended, killPatienceMs))) {
      throw new KeelsonError(
        'unavailable',
        `container ${record.name} did not end within ${killPatienceMs / 1000} s of SIGKILL`,
      );
    }
  }
  containerEvent(parts, record, 'stop');
}

/** Notes that it was stopped by hand; the record if it runs, undefined if there is nothing to stop (any more). */
async function giveUpRestart(parts: Parts, context: Context, id: string): Promise<ContainerRecord | undefined> {
  return withContainer(parts, context, id, 'stopping', (record) => {
    if (record.state === 'restarting') {
      parts.records.update(id, { state: 'exited', stoppedByUser: true, restartAt: 0 });
      return undefined;
    }
    if (record.state !== 'running' && record.state !== 'paused') return undefined;
    parts.records.update(id, { stoppedByUser: true });
    return record;
  });
}

/** Sends a signal by name or number; SIGKILL where none is given, and then no restart policy brings the container back. */
export async function kill(parts: Parts, context: Context, reference: string, signal = 'SIGKILL'): Promise<void> {
  const number = signalNumber(signal);
  const record = await current(parts, context, reference);
  if (record.state !== 'running' && record.state !== 'paused') {
    throw new KeelsonError('conflict', `cannot kill container: ${reference}: container ${record.id} is not running`);
  }
  const stops = number === SIGKILL || number === signalNumber(record.spec.config.stopSignal || 'SIGTERM');
  if (stops) parts.records.update(record.id, { stoppedByUser: true });
  await send(parts, record, number);
  if (stops && record.state === 'paused') await thaw(parts, context, record);
  // As docker does: whoever kills a container finds it dead afterwards.
  if (number === SIGKILL) await settledWithin(exitOf(parts, context, record), killPatienceMs);
}

/** Through the keeper's pidfd, so that it never reaches another process. One that is gone already has no need of it. */
async function send(parts: Parts, record: ContainerRecord, signal: number): Promise<void> {
  try {
    await killKept(containerPaths(parts.paths, record.id).socket, signal);
  } catch (error) {
    if (isKeelsonError(error, 'not-found') || isKeelsonError(error, 'unavailable')) return;
    throw error;
  }
  containerEvent(parts, record, 'kill', { signal: String(signal), signalName: signalName(signal) });
}

async function settledWithin(ended: Promise<unknown>, ms: number): Promise<boolean> {
  const stopTimer = new AbortController();
  try {
    return await Promise.race([ended.then(() => true), sleep(ms, false, { signal: stopTimer.signal })]);
  } finally {
    stopTimer.abort();
  }
}

/** `stop`, where it runs, then `start`. */
export async function restart(
  parts: Parts,
  context: Context,
  reference: string,
  options: StopOptions = {},
): Promise<void> {
  const { id, name } = await current(parts, context, reference);
  const { autoRemove } = parts.records.find(id).spec.config;
  if (autoRemove)
    throw new KeelsonError('conflict', `container ${name} is removed when it stops, it can't be restarted`);
  await stop(parts, context, id, options);
  await withContainer(parts, context, id, 'restarting', async (record) => {
    if (record.state === 'running' || record.state === 'paused') return;
    await startLocked(parts, context, { ...record, restartCount: 0 });
    containerEvent(parts, record, 'restart');
  });
}
