import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { publishError } from '../network/bridge-network.ts';
import { startError } from '../runtime/start-error.ts';
import { leaseKey, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { Run, type StartOptions } from './run.ts';
import { settleLocked } from './settle.ts';
import type { Attachment } from './types.ts';

/** Starts a container; nothing happens when it runs already (unless `attach` is asked for: then that is a conflict). */
export async function start(
  parts: Parts,
  context: Context,
  reference: string,
  options: StartOptions = {},
): Promise<Attachment | undefined> {
  const { id, name } = parts.records.find(reference);
  using _ = await parts.leases.acquire(context, leaseKey(id), `starting ${name}`);
  const current = parts.records.get(id);
  const record = current && (await settleLocked(parts, context, current));
  if (record === undefined) throw new KeelsonError('not-found', `No such container: ${reference}`);
  if (record.state === 'paused') {
    throw new KeelsonError('conflict', 'cannot start a paused container, try unpause instead');
  }
  if (record.state === 'removing' || record.state === 'dead') {
    throw new KeelsonError('conflict', 'container is marked for removal and cannot be started');
  }
  if (record.state === 'running') {
    if (options.attach) throw new KeelsonError('conflict', `container ${name} is already running`);
    return undefined;
  }
  return startLocked(parts, context, { ...record, restartCount: 0 }, options);
}

/** The same for the holder of the lease, of a container that is known not to run. */
export async function startLocked(
  parts: Parts,
  context: Context,
  record: ContainerRecord,
  options: StartOptions = {},
): Promise<Attachment | undefined> {
  const { id } = record;
  const generation = record.generation + 1;
  parts.records.update(id, { phase: 'starting', generation });
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
