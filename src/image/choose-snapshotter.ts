import { randomBytes } from '../ground/crypto.ts';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context } from '../ground/context.ts';
import { fromSystemError, isKeelsonError, KeelsonError } from '../ground/errors.ts';
import { removeTree } from '../ground/remove-tree.ts';
import { CLONE_NEWNS } from '../kernel/constants.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import { hostArch } from '../kernel/syscalls.ts';
import { makeFilesystem } from '../runtime/filesystem.ts';
import { inChild } from './sandbox.ts';
import type { SnapshotOptions } from './snapshot-layers.ts';
import { NativeSnapshotter } from './snapshot-native.ts';
import { OverlaySnapshotter } from './snapshot-overlay.ts';
import type { Snapshotter } from './snapshotter.ts';

const drivers: Readonly<Record<SnapshotDriver, new (options: SnapshotOptions) => Snapshotter>> = {
  overlay: OverlaySnapshotter,
  native: NativeSnapshotter,
};
export type SnapshotDriver = 'overlay' | 'native';

/**
 * The driver of a data root: `driver` if given, else the one it has been used with (`<root>/snapshots/driver`), else overlay where the kernel
 * mounts one there, else native.
 */
export async function chooseSnapshotter(
  context: Context,
  options: SnapshotOptions & { readonly driver?: SnapshotDriver },
): Promise<Snapshotter> {
  const folder = join(options.root, 'snapshots');
  const known = options.driver ?? (await readFile(join(folder, 'driver'), 'utf8').catch(() => '')).trim();
  if (known in drivers) return new drivers[known as SnapshotDriver](options);
  const why = await whyNoOverlay(context, options);
  const driver = why === undefined ? 'overlay' : 'native';
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const next = join(folder, `driver.${process.pid}`);
    await writeFile(next, `${driver}\n`);
    await rename(next, join(folder, 'driver'));
  } catch (error) {
    throw fromSystemError(error, `writing ${folder}/driver`);
  }
  return new drivers[driver](options);
}

/** Undefined where overlayfs can have its directories in the data root; else the reason. Nothing gets mounted anywhere. */
export async function whyNoOverlay(context: Context, options: SnapshotOptions): Promise<string | undefined> {
  const place = join(options.root, 'snapshots', `probe-${process.pid}-${randomBytes(6).toString('hex')}`);
  const [lower, upper, work] = ['lower', 'upper', 'work'].map((name) => join(place, name)) as [string, string, string];
  try {
    for (const directory of [lower, upper, work]) await mkdir(directory, { recursive: true, mode: 0o700 });
    const b = new PlanBuilder(hostArch());
    const words = ['source=overlay', `lowerdir=${lower}`, `upperdir=${upper}`, `workdir=${work}`];
    if (options.ids) words.push('userxattr');
    b.group('snapshots').doing('trying overlayfs');
    inChild(b, options.ids, () => {
      b.doing('trying overlayfs');
      if (!options.ids) b.sys('unshare', [CLONE_NEWNS]);
      makeFilesystem(b, 'overlay', words, 0);
    });
    await options.keel.run(b.build(), {}, context);
    return undefined;
  } catch (error) {
    if (isKeelsonError(error) && error.details.errno !== undefined) return error.message;
    throw error instanceof KeelsonError ? error : fromSystemError(error, `trying overlayfs in ${place}`);
  } finally {
    await removeTree(place);
  }
}
