import { readdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Context } from '../ground/context.ts';
import { isKeelsonError } from '../ground/errors.ts';
import { packTree } from '../image/pack.ts';
import { unpackTar } from '../image/unpack.ts';
import { placeOf } from './container-place.ts';
import type { Parts } from './parts.ts';
import type { ContainerRecord, ResolvedMount } from './record.ts';
import { statIn } from './stat-path.ts';

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;

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

/**
 * Copies what the image has at each mount's target into the volume, with owner and mode of the directory itself. The target is found
 * inside the image's own root, so that no name or link in the image leads to files of the host. What isn't there isn't copied.
 */
export async function copyUp(
  parts: Parts,
  context: Context,
  record: ContainerRecord,
  mounts: readonly ResolvedMount[],
): Promise<void> {
  const where = await placeOf(parts, context, record, { volumes: false });
  await using scratch = await parts.trash.scratch();
  const ids = where.ids && { ids: where.ids };
  for (const mount of mounts) {
    if (!(await isDirectory(mount.target))) continue;
    using _ = await parts.leases.acquire(context, `volume:${mount.name}`, `filling volume ${mount.name}`);
    const path = parts.volumes.path(mount.name);
    if ((await readdir(path)).length > 0) continue; // another container was faster
    const tar = packTree(
      parts.keel,
      { from: where.place, ...ids, at: mount.target, name: '_data', scratch: scratch.path },
      context,
    );
    await unpackTar(
      parts.keel,
      tar,
      {
        into: dirname(path),
        ...ids,
        scratch: scratch.path,
        whiteouts: 'files',
        privileges: parts.facts.euid === 0 ? 'full' : 'lenient',
        doing: `copying ${mount.target} of the image to volume ${mount.name}`,
      },
      context,
    );
  }

  async function isDirectory(target: string): Promise<boolean> {
    try {
      const { mode } = await statIn(parts, context, where, `${target}/`, record.name);
      return (mode & S_IFMT) === S_IFDIR;
    } catch (error) {
      if (isKeelsonError(error, 'not-found')) return false;
      throw error;
    }
  }
}
