import type { Context } from '../ground/context.ts';
import { publishError } from '../network/bridge-network.ts';
import { startError } from '../runtime/start-error.ts';
import { leaseKey, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { Run, type StartOptions } from './run.ts';
import type { Attachment } from './types.ts';

/** Starts a container that is known not to run, for the holder of its lease. What fails is undone, and recorded as docker does. */
export async function startLocked(
  parts: Parts,
  context: Context,
  record: ContainerRecord,
  options: StartOptions = {},
): Promise<Attachment | undefined> {
  const { id } = record;
  const generation = record.generation + 1;
  parts.records.update(id, { phase: 'starting', generation, pid: 0, pidStart: 0, keeper: 0, keeperStart: 0 });
  parts.leases.unclaim(leaseKey(id));
  parts.keel.warm();
  const run = new Run(parts, context, { ...record, generation });
  try {
    await context.span('prepare', async () => run.prepare());
    await context.span('keep', async () => run.keep());
    const keeper = await run.attach(options);
    await context.span('exec', async () => run.go());
    return keeper;
  } catch (error) {
    const failure = publishError(startError(error));
    await run.undo(failure);
    throw failure;
  }
}
