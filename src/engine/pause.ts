import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../ground/context.ts';
import { fromSystemError, KeelsonError } from '../ground/errors.ts';
import { cgroupDriver, readText } from '../kernel/cgroup.ts';
import type { Freezer } from '../kernel/cgroup-driver.ts';
import { containerEvent } from './container-events.ts';
import type { Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { cgroupOf } from './run-plan.ts';
import { withContainer } from './with-container.ts';

const patienceMs = 10_000;

/** Freezes all of the container's processes. */
export async function pause(parts: Parts, context: Context, reference: string): Promise<void> {
  await withContainer(parts, context, reference, 'pausing', async (record) => {
    if (record.state === 'paused') throw new KeelsonError('conflict', `container ${record.id} is already paused`);
    if (record.state !== 'running') throw new KeelsonError('conflict', `container ${record.id} is not running`);
    const freezer = freezerOf(parts, record);
    await write(freezer.freeze);
    try {
      await frozen(context, freezer, record);
    } catch (error) {
      await write(freezer.thaw);
      throw error;
    }
    parts.db.immediate(() => {
      parts.records.update(record.id, { state: 'paused' });
      containerEvent(parts, record, 'pause');
    });
  });
}

export async function unpause(parts: Parts, context: Context, reference: string): Promise<void> {
  await withContainer(parts, context, reference, 'unpausing', async (record) => {
    if (record.state !== 'paused') throw new KeelsonError('conflict', `container ${record.id} is not paused`);
    await write(freezerOf(parts, record).thaw);
    parts.db.immediate(() => {
      parts.records.update(record.id, { state: 'running' });
      containerEvent(parts, record, 'unpause');
    });
  });
}

/** Lets a paused container go on, so that a signal reaches it. */
export async function thaw(parts: Parts, context: Context, record: ContainerRecord): Promise<void> {
  await unpause(parts, context, record.id).catch((error: unknown) => {
    // It has ended meanwhile, or somebody was faster.
    if (!(error instanceof KeelsonError) || (error.code !== 'conflict' && error.code !== 'not-found')) throw error;
  });
}

function freezerOf(parts: Parts, record: ContainerRecord): Freezer {
  const cgroup = cgroupOf(parts.facts, record.id);
  const freezer = cgroup && cgroupDriver(parts.facts.cgroup).freezer(cgroup);
  if (freezer === undefined) {
    throw new KeelsonError('unsupported', `container ${record.name} can't be paused: it has no freezer control group`);
  }
  return freezer;
}

async function frozen(context: Context, freezer: Freezer, record: ContainerRecord): Promise<void> {
  for (const deadline = Date.now() + patienceMs; ; await sleep(1)) {
    if (freezer.state.frozen.test(readText(freezer.state.path) ?? '')) return;
    context.check(`pausing ${record.name}`);
    if (Date.now() > deadline) {
      throw new KeelsonError(
        'unavailable',
        `container ${record.name} could not be paused within ${patienceMs / 1000} s`,
      );
    }
  }
}

async function write(file: { path: string; value: string }): Promise<void> {
  try {
    await writeFile(file.path, file.value, { flag: 'r+' });
  } catch (error) {
    throw fromSystemError(error, `writing ${file.value} to ${file.path}`);
  }
}
