import type { Context } from '../ground/context.ts';
import { isKeelsonError, KeelsonError } from '../ground/errors.ts';
import { packTree } from '../image/pack.ts';
import { unpackTar } from '../image/unpack.ts';
import { containerEvent } from './container-events.ts';
import { placeOf } from './container-place.ts';
import { cleanPath } from './merge-config.ts';
import type { Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { pathError, splitPath, statIn } from './stat-path.ts';
import type { PathStat } from './types.ts';
import { current } from './with-container.ts';

export async function statPath(parts: Parts, context: Context, reference: string, path: string): Promise<PathStat> {
  const record = await usable(parts, context, reference);
  const where = await placeOf(parts, context, record, { volumes: true });
  return statIn(parts, context, where, path, reference);
}

/** The file or directory as an archive, called by the last word of its path. A link is archived as such. */
export async function copyFrom(
  parts: Parts,
  context: Context,
  reference: string,
  path: string,
): Promise<{ stat: PathStat; tar: AsyncIterable<Uint8Array> }> {
  const record = await usable(parts, context, reference);
  const where = await placeOf(parts, context, record, { volumes: true });
  const stat = await statIn(parts, context, where, path, reference);
  const { at, base, name } = splitPath(path);
  containerEvent(parts, record, 'archive-path');
  async function* tar(): AsyncGenerator<Uint8Array> {
    await using scratch = await parts.trash.scratch();
    const { place: from, ids } = where;
    const whole = base === '.';
    yield* packTree(
      parts.keel,
      {
        from,
        at,
        ...(ids && { ids }),
        ...(!whole && { path: base }),
        name,
        scratch: scratch.path,
      },
      context,
    );
  }
  return { stat, tar: tar() };
}

/** Unpacks into a directory, which must be there. The archive's owners count with `copyUidGid` alone; otherwise all is root's. */
export async function copyTo(
  parts: Parts,
  context: Context,
  reference: string,
  directory: string,
  tar: AsyncIterable<Uint8Array>,
  options: { noOverwriteDirNonDir?: boolean; copyUidGid?: boolean } = {},
): Promise<void> {
  const record = await usable(parts, context, reference);
  refuseReadOnly(record, cleanPath(directory));
  const where = await placeOf(parts, context, record, { volumes: true });
  await using scratch = await parts.trash.scratch();
  try {
    await unpackTar(
      parts.keel,
      tar,
      {
        into: where.place,
        at: cleanPath(directory),
        ...(where.ids && { ids: where.ids }),
        scratch: scratch.path,
        whiteouts: 'files',
        privileges: parts.facts.euid === 0 ? 'full' : 'lenient',
        owners: options.copyUidGid ? 'archive' : 'caller',
        doing: `copying to ${reference}:${directory}`,
        ...(options.noOverwriteDirNonDir && { keepKind: true }),
      },
      context,
    );
  } catch (error) {
    if (isKeelsonError(error) && error.details.errno === 'EROFS') {
      throw new KeelsonError('denied', 'mounted volume is marked read-only', { cause: error });
    }
    throw error instanceof KeelsonError && /opening \S+:/.test(error.message)
      ? pathError(error, directory, reference)
      : error;
  }
  containerEvent(parts, record, 'extract-to-dir');
}

/** All of the container's own files: not what is mounted in it. */
export async function* exportContainer(parts: Parts, context: Context, reference: string): AsyncGenerator<Uint8Array> {
  const record = await usable(parts, context, reference);
  const { place: from, ids } = await placeOf(parts, context, record, { volumes: false });
  await using scratch = await parts.trash.scratch();
  const options = { from, ...(ids && { ids }), oneFileSystem: true, scratch: scratch.path };
  yield* packTree(parts.keel, options, context);
  containerEvent(parts, record, 'export');
}

async function usable(parts: Parts, context: Context, reference: string): Promise<ContainerRecord> {
  const record = await current(parts, context, reference);
  if (record.state === 'removing' || record.state === 'dead') {
    throw new KeelsonError('conflict', `container ${record.id} is being removed`);
  }
  return record;
}

/** A root that is read-only stays so for cp, but for what is mounted in it read-write. */
function refuseReadOnly(record: ContainerRecord, directory: string): void {
  const { config, mounts } = record.spec;
  const covering = mounts.findLast((m) => directory === m.target || directory.startsWith(`${m.target}/`));
  if (covering?.readOnly) throw new KeelsonError('denied', 'mounted volume is marked read-only');
  if (config.readOnlyRootfs && covering === undefined) {
    throw new KeelsonError('denied', 'container rootfs is marked read-only');
  }
}
