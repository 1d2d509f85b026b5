import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { randomBytes } from '../ground/crypto.ts';

/** Raised when the compiler's output changes for the same profile. */
const version = 1;

/** `struct sock_filter[]` and the flags to install it with. */
export interface CompiledFilter {
  readonly filter: Uint8Array;
  readonly flags: number;
}

/**
 * Compiled filters on disk, below the run directory: compiling costs a fresh process some tens of milliseconds, reading one
 * file a fraction of one. The directory is this user's alone (0700), and goes with a reboot, as the kernel's version may.
 */
export class SeccompCache {
  readonly #directory: string;

  constructor(run: string) {
    this.#directory = join(run, 'seccomp');
  }

  /** The filter made from `inputs`, which are all that it depends on; `compile` makes one that isn't there. */
  filter(inputs: readonly unknown[], compile: () => CompiledFilter): CompiledFilter {
    const key = Buffer.from(JSON.stringify([version, ...inputs]));
    // Names may collide; the key is in the file.
    const path = join(this.#directory, `${crc32(key).toString(16)}-${key.length}.bpf`);
    const known = decode(read(path), key);
    if (known !== undefined) return known;
    const made = compile();
    this.#write(path, encode(key, made));
    return made;
  }

  /** A cache that can't be written to is slower, and no reason to fail. */
  #write(path: string, content: Uint8Array): void {
    const temporary = `${path}.${randomBytes(6).toString('hex')}`;
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      writeFileSync(temporary, content, { mode: 0o600 });
      renameSync(temporary, path);
    } catch {
      rmSync(temporary, { force: true });
    }
  }
}

/** u32 size of the key, u32 size of the filter, u32 flags; the key; the filter. */
const headSize = 12;

function encode(key: Buffer, { filter, flags }: CompiledFilter): Buffer {
  const head = Buffer.alloc(headSize);
  [key.length, filter.length, flags].forEach((word, i) => head.writeUInt32LE(word, i * 4));
  return Buffer.concat([head, key, filter]);
}

/** Undefined for what was not written by us, whole, for this key. */
function decode(content: Buffer | undefined, key: Buffer): CompiledFilter | undefined {
  if (content === undefined || content.length < headSize + key.length) return undefined;
  const [keySize, filterSize] = [content.readUInt32LE(0), content.readUInt32LE(4)];
  const at = headSize + key.length;
  if (keySize !== key.length || filterSize === 0 || content.length !== at + filterSize) return undefined;
  if (!content.subarray(headSize, at).equals(key)) return undefined;
  return { filter: content.subarray(at), flags: content.readUInt32LE(8) };
}

function read(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
