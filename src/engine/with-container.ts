import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { hasExitRecord, keeperAlive } from './exit-record.ts';
import { containerPaths, leaseKey, type Parts } from './parts.ts';
import { type ContainerRecord, noSuchContainer } from './record.ts';
import { recoverLocked } from './recover.ts';
import { settle } from './settle.ts';

/** Runs `work` with the container's lease held and its record as it is now, exits recorded. `doing`: "renaming". */
export async function withContainer<T>(
  parts: Parts,
  context: Context,
  reference: string,
  doing: string,
  work: (record: ContainerRecord) => Promise<T> | T,
): Promise<T> {
  const { id, name } = parts.records.find(reference);
  using _ = await parts.leases.acquire(context, leaseKey(id), `${doing} ${name}`);
  const found = parts.records.get(id);
  const record = found && (await recoverLocked(parts, found));
  if (record === undefined) throw noSuchContainer(reference);
  return await work(record); // not the promise: the lease is held until it has settled
}

/** The record as it is now, without taking the lease unless an exit is to be recorded. */
export async function current(parts: Parts, context: Context, reference: string): Promise<ContainerRecord> {
  const record = parts.records.find(reference);
  const interrupted = record.phase !== '' && parts.leases.holder(leaseKey(record.id)) === undefined;
  if (interrupted) return withContainer(parts, context, record.id, 'looking at', (found) => found);
  if (!isStale(parts, record)) return record;
  const settled = await settle(parts, context, record.id);
  if (settled === undefined) throw noSuchContainer(reference);
  return settled;
}

/** The record says that it runs, and it doesn't. Two file system calls, for a container that runs. */
export function isStale(parts: Parts, record: ContainerRecord): boolean {
  if (record.phase !== '' || (record.state !== 'running' && record.state !== 'paused')) return false;
  return hasExitRecord(containerPaths(parts.paths, record.id).exitRecord) || !keeperAlive(record);
}

/** A container that runs, for what only a running one can do. */
export async function running(parts: Parts, context: Context, reference: string): Promise<ContainerRecord> {
  const record = await current(parts, context, reference);
  if (record.state === 'restarting') {
    throw new KeelsonError('conflict', `Container ${record.id} is restarting, wait until the container is running`);
  }
  if (record.state !== 'running' && record.state !== 'paused') {
    throw new KeelsonError('conflict', `container ${record.id} is not running`);
  }
  return record;
}
