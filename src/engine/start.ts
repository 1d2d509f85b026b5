import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import type { Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import type { StartOptions } from './run.ts';
import { startLocked } from './start-locked.ts';
import type { Attachment } from './types.ts';
import { withContainer } from './with-container.ts';

/** Starts a container; nothing happens when it runs already (unless `attach` is asked for: then that is a conflict). */
export async function start(
  parts: Parts,
  context: Context,
  reference: string,
  options: StartOptions = {},
): Promise<Attachment | undefined> {
  return withContainer(parts, context, reference, 'starting', async (record) =>
    startRecord(parts, context, record, options),
  );
}

async function startRecord(
  parts: Parts,
  context: Context,
  record: ContainerRecord,
  options: StartOptions,
): Promise<Attachment | undefined> {
  if (record.state === 'paused') {
    throw new KeelsonError('conflict', 'cannot start a paused container, try unpause instead');
  }
  if (record.state === 'removing' || record.state === 'dead') {
    throw new KeelsonError('conflict', 'container is marked for removal and cannot be started');
  }
  if (record.state === 'running') {
    if (options.attach) throw new KeelsonError('conflict', `container ${record.name} is already running`);
    return undefined;
  }
  return startLocked(parts, context, { ...record, restartCount: 0 }, options);
}
