import { readdir, rename, rm, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from './errors.ts';

/**
 * Removes a directory and all below it; no error when it isn't there. Symbolic links are removed, not followed. Works for trees
 * whose paths are too long for any system call: a container may nest directories as deep as it likes.
 */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENAMETOOLONG') throw fromSystemError(error, `removing ${path}`);
    await flatten(path).catch((cause: unknown) => {
      throw fromSystemError(cause, `removing ${path}`);
    });
  }
}

/** Every directory is first moved to the top, under a number that nothing there is called, so that no path gets long. */
async function flatten(top: string): Promise<void> {
  const prefix = `.remove-${process.pid}-`;
  let moved = 0;
  const waiting = [top];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    for (const entry of await readdir(directory, { withFileTypes: true, encoding: 'buffer' })) {
      const path = Buffer.concat([Buffer.from(`${directory}/`), entry.name]);
      if (!entry.isDirectory()) {
        await unlink(path);
      } else if (directory === top && entry.name.toString().startsWith(prefix)) {
        continue; // on the list already
      } else {
        const short = join(top, `${prefix}${moved++}`);
        await rename(path, short);
        waiting.push(short);
      }
    }
    if (directory !== top) await rmdir(directory);
  }
  await rmdir(top);
}
