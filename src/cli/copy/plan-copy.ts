import { posix } from 'node:path';
import { KeelsonError } from '../../ground/errors.ts';

/** One side of a copy: a path as the user wrote it, whose end (`/`, `/.`) says something, and what is there. */
export interface CopySide {
  readonly path: string;
  readonly exists: boolean;
  readonly isDirectory: boolean;
}

/** Where an archive of the source is to be unpacked, and how its first name changes. */
export interface CopyPlan {
  readonly directory: string;
  /** The source's name in the archive, and what it becomes; undefined when it stays. */
  readonly rename: { readonly from: string; readonly to: string } | undefined;
}

/** `name:path` of a container; undefined for a path on this side: one with a slash or a dot in front, or without a colon. */
export function splitContainerPath(
  argument: string,
): { readonly container: string; readonly path: string } | undefined {
  const colon = argument.indexOf(':');
  if (argument.startsWith('/') || argument.startsWith('.') || colon < 0) return undefined;
  return { container: argument.slice(0, colon), path: argument.slice(colon + 1) };
}

/** Whether a path can only mean a directory. */
export function meansDirectory(path: string): boolean {
  return /(^|\/)\.?$/.test(path);
}

/** The name under which an archive of `path` has it: its last part, `.` for the content of a directory (`dir/.`) and for the root. */
export function archiveName(path: string): string {
  return meansDirectory(path) && /(^|\/)\.$/.test(path) ? '.' : posix.basename(path.replace(/\/+$/, '')) || '.';
}

/** Docker's rules for what `cp SRC DST` means, by what the two are. Throws where it can't be done. */
export function planCopy(source: CopySide, target: CopySide): CopyPlan {
  const from = archiveName(source.path);
  const parent = posix.dirname(target.path.replace(/\/+\.?$/, '') || '/');
  const rename = { from, to: archiveName(target.path) };
  if (target.exists && target.isDirectory) return { directory: target.path, rename: undefined };
  if (target.exists && source.isDirectory) throw new KeelsonError('conflict', 'cannot copy directory');
  if (target.exists) {
    if (meansDirectory(target.path)) throw new KeelsonError('conflict', `${target.path}: not a directory`);
    return { directory: parent, rename };
  }
  if (source.isDirectory) {
    // What does not exist yet becomes the directory itself: `dir/.` is as good as `dir` for that.
    const trimmed = target.path.replace(/\/+\.?$/, '');
    return { directory: parent, rename: { from, to: posix.basename(trimmed) } };
  }
  if (meansDirectory(target.path)) throw new KeelsonError('not-found', 'no such directory');
  return { directory: parent, rename };
}

/** A name of the archive after the renaming. */
export function renamed(path: string, rename: CopyPlan['rename']): string {
  if (rename === undefined) return path;
  const { from, to } = rename;
  const clean = path.replace(/^\.\/(?=.)/, '').replace(/\/$/, '');
  if (from === '.') return clean === '.' || clean === '' ? to : `${to}/${clean}`;
  if (clean === from) return to;
  return clean.startsWith(`${from}/`) ? to + clean.slice(from.length) : clean;
}
