import { rmdirSync, rmSync, statSync, unlinkSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { fromSystemError } from '../ground/errors.ts';
import type { ContainerPaths, Parts } from './parts.ts';

/** Unlinking more than this at once may take long enough to be felt by others in this process. */
const quickBytes = 4 << 20;

/** What a run has left below the run directory. Most often that is an empty directory: one system call, not a walk. */
export async function removeRunFiles(at: ContainerPaths): Promise<void> {
  try {
    rmdirSync(at.run);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') await rm(at.run, { recursive: true, force: true });
  }
  try {
    unlinkSync(at.exitRecord);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') throw fromSystemError(error, `removing ${at.exitRecord}`);
  }
}

/** The container's data: a few small files and its log, which may be large. */
export async function removeData(parts: Pick<Parts, 'trash'>, at: ContainerPaths): Promise<void> {
  const size = statSync(at.log, { throwIfNoEntry: false })?.size ?? 0;
  if (size <= quickBytes) rmSync(at.data, { recursive: true, force: true });
  else await parts.trash.discard(at.data);
}
