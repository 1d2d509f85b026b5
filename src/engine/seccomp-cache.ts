import { createHash, randomBytes } from '../ground/crypto.ts';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Raised when the compiler's output changes for the same profile. */
const version = 1;

/**
 * Compiled filters on disk, below the run directory: compiling costs a fresh process some tens of milliseconds, reading one
 * file a fraction of one. The directory is this user's alone (0700), and goes with a reboot, as the kernel's version may.
 */
export class SeccompCache {
  readonly #directory: string;

  constructor(run: string) {
    this.#directory = join(run, 'seccomp');
  }

  /** The filter (`struct sock_filter[]`) made from `inputs`, which name all that it depends on; `compile` makes one that isn't there. */
  filter(inputs: readonly unknown[], compile: () => Uint8Array): Uint8Array {
    const key = createHash('sha256')
      .update(
        JSON.stringify([version, ...inputs], (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value)),
      )
      .digest('hex');
    const path = join(this.#directory, `${key}.bpf`);
    const known = read(path);
    // Eight bytes an instruction; anything else was not written by us to its end.
    if (known !== undefined && known.length > 0 && known.length % 8 === 0) return known;
    const filter = compile();
    this.#write(path, filter);
    return filter;
  }

  /** A cache that can't be written to is slower, and no reason to fail. */
  #write(path: string, filter: Uint8Array): void {
    const temporary = `${path}.${randomBytes(6).toString('hex')}`;
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      writeFileSync(temporary, filter, { mode: 0o600 });
      renameSync(temporary, path);
    } catch {
      rmSync(temporary, { force: true });
    }
  }
}

function read(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
