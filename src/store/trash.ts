import { randomBytes } from '../ground/crypto.ts';
import { mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from '../ground/errors.ts';
import { removeTree } from '../ground/remove-tree.ts';
import { isAlive, ownIdentity } from './process-identity.ts';

/**
 * `<root>/trash`: what is to be removed is moved there in one step, so that its name is free at once, and a removal that is cut off
 * leaves nothing half there. Entries are named for the process that empties them.
 */
export class Trash {
  readonly #folder: string;

  constructor(paths: { readonly root: string }) {
    this.#folder = join(paths.root, 'trash');
  }

  /** A new private directory for the time of one operation: thrown away on disposal, or by others when this process is killed. */
  async scratch(): Promise<{ readonly path: string } & AsyncDisposable> {
    const path = this.#newPlace();
    await mkdir(path, { recursive: true, mode: 0o700 });
    return { path, [Symbol.asyncDispose]: async () => removeTree(path) };
  }

  /** Moves it into the trash; returns its path there, undefined when there was nothing. */
  async take(path: string): Promise<string | undefined> {
    const place = this.#newPlace();
    for (let attempt = 0; ; attempt++) {
      try {
        await rename(path, place);
        return place;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EXDEV') {
          await removeTree(path); // a mount of its own: there is no way to move it in one step
          return undefined;
        }
        if (code !== 'ENOENT') throw fromSystemError(error, `removing ${path}`);
        // Either there is nothing to remove, or the trash itself isn't there yet.
        if (attempt > 0) return undefined;
        await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      }
    }
  }

  async discard(path: string): Promise<void> {
    const place = await this.take(path);
    if (place !== undefined) await removeTree(place);
  }

  #newPlace(): string {
    const { pid, start } = ownIdentity();
    return join(this.#folder, `${pid}-${start}-${randomBytes(6).toString('hex')}`);
  }

  /** Removes what processes that are gone have left. */
  async sweep(): Promise<void> {
    for (const name of await readdir(this.#folder).catch(() => [])) {
      const owner = /^(\d+)-(\d+)-/.exec(name);
      if (owner && isAlive({ ...ownIdentity(), pid: Number(owner[1]), start: Number(owner[2]) })) continue;
      // Another process may be at it too: whoever comes last wins.
      await removeTree(join(this.#folder, name)).catch(() => {});
    }
  }
}
