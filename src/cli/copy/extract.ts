import { constants, type Stats } from 'node:fs';
import { chmod, lchown, link, lstat, lutimes, mkdir, open, rm, symlink, utimes } from 'node:fs/promises';
import { posix } from 'node:path';
import { KeelsonError, fromSystemError } from '../../ground/errors.ts';
import type { TarEntry } from '../../image/tar-entry.ts';
import { type TarReadItem, readTar } from '../../image/tar-read.ts';
import { type CopyPlan, renamed } from './plan-copy.ts';

/**
 * Unpacks what came out of a container into a local directory. The archive is not to be trusted: a name that leads outside, by dots or
 * through a symbolic link on the way, is refused. Returns the bytes of all files.
 */
export async function extract(
  tar: AsyncIterable<Uint8Array>,
  plan: CopyPlan,
  options: { readonly ownership: boolean },
): Promise<number> {
  const directories: { path: string; entry: TarEntry }[] = [];
  let bytes = 0;
  for await (const item of readTar(tar)) {
    const { entry } = item;
    const path = await place(plan.directory, renamed(entry.path, plan.rename));
    try {
      await make(item, path, plan);
      if (options.ownership) await lchown(path, entry.uid, entry.gid);
      if (entry.type === 'directory') directories.push({ path, entry });
      else await finish(path, entry);
    } catch (error) {
      throw fromSystemError(error, `copying ${path}`);
    }
    bytes += entry.size;
  }
  // Last, from the inside out: a directory that may not be written to must still take its files, which change its time.
  for (const { path, entry } of directories.toReversed()) await finish(path, entry);
  return bytes;
}

/** The path of an entry below `root`; every directory on the way must be one, and no link. */
async function place(root: string, name: string): Promise<string> {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (name.startsWith('/') || parts.includes('..') || name.includes('\0'))
    throw new KeelsonError('corrupt', `the archive has an entry outside its directory: ${JSON.stringify(name)}`);
  let path = root;
  for (const part of parts.slice(0, -1)) {
    path = posix.join(path, part);
    const info = await lstat(path).catch(() => undefined);
    if (info === undefined) await mkdir(path, 0o755);
    else if (!info.isDirectory())
      throw new KeelsonError(
        'conflict',
        `copying ${name}: ${path} is ${info.isSymbolicLink() ? 'a symbolic link' : 'not a directory'}`,
      );
  }
  return posix.join(root, ...parts);
}

async function make({ entry, content }: TarReadItem, path: string, plan: CopyPlan): Promise<void> {
  const there: Stats | undefined = await lstat(path).catch(() => undefined);
  if (entry.type === 'directory') {
    if (there?.isDirectory() === true) return;
    if (there !== undefined)
      throw new KeelsonError('conflict', `cannot overwrite non-directory ${path} with a directory`);
    await mkdir(path, 0o700);
    return;
  }
  if (there?.isDirectory() === true)
    throw new KeelsonError('conflict', `cannot overwrite directory ${path} with a non-directory`);
  if (there !== undefined) await rm(path);
  switch (entry.type) {
    case 'file': {
      const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW } = constants;
      const file = await open(path, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0o600);
      try {
        for await (const chunk of content) await file.writeFile(chunk);
      } finally {
        await file.close();
      }
      return;
    }
    case 'symlink':
      await symlink(entry.link ?? '', path);
      return;
    case 'hardlink':
      await link(await place(plan.directory, renamed(entry.link ?? '', plan.rename)), path);
      return;
    default:
      throw new KeelsonError(
        'unsupported',
        `cannot make the ${entry.type === 'fifo' ? 'fifo' : 'device'} ${path} here`,
      );
  }
}

/** Permissions and time. */
async function finish(path: string, entry: TarEntry): Promise<void> {
  if (entry.type === 'hardlink') return;
  const seconds = Number(entry.mtime) / 1e9;
  if (entry.type === 'symlink') {
    await lutimes(path, seconds, seconds);
    return;
  }
  await chmod(path, entry.mode);
  await utimes(path, seconds, seconds);
}
