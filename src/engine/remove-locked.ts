import type { Context } from '../ground/context.ts';
import { containerEvent } from './container-events.ts';
import { removeData, removeRunFiles } from './container-files.ts';
import { containerPaths, leaseKey, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';

/**
 * Removes a container that doesn't run, for the holder of its lease. The row goes last: a removal that is cut off is found in
 * phase `removing` and done again from the beginning, every step of which bears that.
 */
export async function removeLocked(
  parts: Parts,
  context: Context,
  record: ContainerRecord,
  options: { volumes: boolean },
): Promise<void> {
  const { id } = record;
  const at = containerPaths(parts.paths, id);
  parts.records.update(id, { state: 'removing', phase: options.volumes ? 'removing with volumes' : 'removing' });
  await Promise.all([parts.images.removeContainer(id), removeData(parts, at), removeRunFiles(at)]);
  if (options.volumes) {
    const anonymous = record.spec.mounts.filter((mount) => mount.anonymous).map((mount) => mount.name);
    await parts.volumes.removeWith(context, id, anonymous);
  }
  parts.db.immediate(() => {
    parts.network.release(id);
    parts.records.delete(id);
    parts.leases.unclaim(leaseKey(id));
    containerEvent(parts, record, 'destroy');
  });
  await parts.images.released(record.imageId);
}
