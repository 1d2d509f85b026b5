import { posix } from 'node:path';
import type { Context } from '../ground/context.ts';
import { isKeelsonError, KeelsonError } from '../ground/errors.ts';
import { readingCapabilities, sandboxed } from '../image/sandbox.ts';
import { AT_EMPTY_PATH, O_CLOEXEC, O_PATH, openFlags } from '../kernel/constants.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import type { ContainerPlace } from './container-place.ts';
import { cleanPath } from './merge-config.ts';
import { printable } from './names.ts';
import type { Parts } from './parts.ts';
import type { PathStat } from './types.ts';

/** A path in a container, taken apart: `at` is a directory, links in it are followed; `base` is a name in it, and isn't. */
export interface SplitPath {
  readonly at: string;
  /** `.` when the path itself must be a directory: `/`, or with a slash or `/.` at its end. */
  readonly base: string;
  /** The last word of the path, as it is called in an archive. */
  readonly name: string;
}

export function splitPath(path: string): SplitPath {
  if (path.includes('\0')) throw new KeelsonError('invalid-argument', 'a path contains a NUL byte');
  const clean = cleanPath(path);
  if (clean === '/' || path.endsWith('/.')) return { at: clean, base: '.', name: '.' };
  if (path.endsWith('/')) return { at: clean, base: '.', name: posix.basename(clean) };
  return { at: posix.dirname(clean), base: posix.basename(clean), name: posix.basename(clean) };
}

const reportTag = 1;
const maxTarget = 4096;

/** lstat(2) of a path inside. `not-found` in docker's words. */
export async function statIn(
  parts: Parts,
  context: Context,
  where: ContainerPlace,
  path: string,
  container: string,
): Promise<PathStat> {
  const { at, base, name } = splitPath(path);
  const b = new PlanBuilder(parts.facts.arch);
  sandboxed(b, { place: where.place, at, ids: where.ids, capabilities: readingCapabilities }, (directory) => {
    b.group('stat').doing(`looking at ${path}`);
    const fd = b.sys('openat', [directory, base, O_PATH | openFlags(b.arch).O_NOFOLLOW | O_CLOEXEC]);
    const stat = b.blob(256, 'struct statx');
    b.sys('statx', [fd, '', AT_EMPTY_PATH, 0x7ff, stat]);
    const target = b.blob(maxTarget, 'target');
    const length = b.sys('readlinkat', [fd, '', target, maxTarget], { on: { EINVAL: 'continue', ENOENT: 'continue' } });
    b.report(reportTag, [length], [stat, target]);
  });
  let found: PathStat | undefined;
  const onReport = (message: { registers: readonly bigint[]; blobs: readonly Buffer[] }): void => {
    const [stat, target] = message.blobs;
    if (stat === undefined || target === undefined) return;
    const length = Number(message.registers[0] ?? 0n);
    const link = length > 0 ? target.toString('utf8', 0, length) : '';
    found = {
      name,
      size: Number(stat.readBigUInt64LE(40)),
      mode: stat.readUInt16LE(28),
      mtime: Number(stat.readBigInt64LE(112)) * 1000 + stat.readUInt32LE(120) / 1e6,
      linkTarget: link === '' ? '' : posix.resolve(at, link),
    };
  };
  try {
    await parts.keel.run(b.build(), { onReport }, context);
  } catch (error) {
    throw pathError(error, path, container);
  }
  if (found === undefined) throw new KeelsonError('internal', `keel did not tell of ${path}`);
  return found;
}

/** Docker's words for a path that isn't there. */
export function pathError(error: unknown, path: string, container: string): unknown {
  if (!isKeelsonError(error)) return error;
  const { errno } = error.details;
  if (errno !== 'ENOENT' && errno !== 'ENOTDIR') return error;
  return new KeelsonError('not-found', `Could not find the file ${printable(path)} in container ${container}`, {
    cause: error,
    details: error.details,
  });
}
