import type { BigIntStats } from 'node:fs';
import { lstat, open, readdir, readlink, stat } from 'node:fs/promises';
import { posix } from 'node:path';
import { KeelsonError } from '../../ground/errors.ts';
import type { TarEntry } from '../../image/tar-entry.ts';
import { type TarItem, writeTar } from '../../image/tar-write.ts';
import { openError } from '../options/key-values.ts';
import { type CopyPlan, archiveName, renamed } from './plan-copy.ts';

async function inspect(path: string, follow: boolean): Promise<BigIntStats> {
  try {
    return await (follow ? stat : lstat)(path, { bigint: true });
  } catch (error) {
    throw new KeelsonError('not-found', openError(path, error).message.replace(/^\w+/, 'lstat'), { cause: error });
  }
}

/** What a local path is. A path that ends in a slash is what it leads to. */
export async function localStat(path: string, follow: boolean): Promise<{ readonly isDirectory: boolean }> {
  return { isDirectory: (await inspect(path, follow || path.endsWith('/'))).isDirectory() };
}

const typeOf = (info: BigIntStats): TarEntry['type'] | undefined => {
  if (info.isFile()) return 'file';
  if (info.isDirectory()) return 'directory';
  if (info.isSymbolicLink()) return 'symlink';
  if (info.isFIFO()) return 'fifo';
  if (info.isCharacterDevice()) return 'char';
  return info.isBlockDevice() ? 'block' : undefined;
};

/** An archive of a local file or directory, its first name changed as the plan says. Sockets are left out, as tar(1) leaves them. */
export async function* localArchive(
  path: string,
  follow: boolean,
  rename: CopyPlan['rename'],
): AsyncGenerator<Uint8Array> {
  yield* writeTar(items(path, archiveName(path), follow || path.endsWith('/'), rename, new Map()));
}

async function* items(
  path: string,
  name: string,
  follow: boolean,
  rename: CopyPlan['rename'],
  links: Map<string, string>,
): AsyncGenerator<TarItem> {
  const info = await inspect(path, follow);
  const type = typeOf(info);
  if (type === undefined) return;
  const target = renamed(name, rename);
  const common = {
    path: type === 'directory' ? `${target}/` : target,
    mode: Number(info.mode & 0o7777n),
    uid: Number(info.uid),
    gid: Number(info.gid),
    mtime: info.mtimeNs,
  };
  const inode = `${info.dev}:${info.ino}`;
  const known = type === 'file' && info.nlink > 1n ? links.get(inode) : undefined;
  if (known !== undefined) {
    yield { entry: { ...common, type: 'hardlink', link: known, size: 0 } };
    return;
  }
  if (type === 'file') {
    if (info.nlink > 1n) links.set(inode, target);
    const size = Number(info.size);
    yield { entry: { ...common, type, size }, content: content(path, size) };
    return;
  }
  if (type === 'symlink') yield { entry: { ...common, type, link: await readlink(path), size: 0 } };
  else if (type === 'char' || type === 'block') {
    const major = Number(((info.rdev >> 8n) & 0xfffn) | ((info.rdev >> 32n) & ~0xfffn));
    const minor = Number((info.rdev & 0xffn) | ((info.rdev >> 12n) & ~0xffn));
    yield { entry: { ...common, type, size: 0, major, minor } };
  } else yield { entry: { ...common, type, size: 0 } };
  if (type !== 'directory') return;
  for (const child of (await readdir(path)).toSorted())
    yield* items(posix.join(path, child), `${name}/${child}`, false, rename, links);
}

/** A file's bytes: as many as its header says, also when it grows meanwhile; filled up with zeros when it shrinks, as tar(1) does. */
async function* content(path: string, size: number): AsyncGenerator<Uint8Array> {
  const file = await open(path);
  try {
    let left = size;
    while (left > 0) {
      const buffer = Buffer.allocUnsafe(Math.min(left, 256 * 1024));
      const { bytesRead } = await file.read(buffer, 0, buffer.length);
      if (bytesRead === 0) break;
      left -= bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
    while (left > 0) {
      const zeros = Buffer.alloc(Math.min(left, 256 * 1024));
      left -= zeros.length;
      yield zeros;
    }
  } finally {
    await file.close();
  }
}
