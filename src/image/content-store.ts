import { createHash, type Hash, randomBytes } from '../ground/crypto.ts';
import { createReadStream, type ReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError, KeelsonError } from '../ground/errors.ts';
import { algorithmOf, type Digest, type DigestAlgorithm, hexOf, isDigest } from '../spec/digest.ts';
import { isAlive, ownIdentity } from '../store/process-identity.ts';

/** A blob that is being written. One of `commit`, `keep` and `discard` ends it. */
export interface Ingest {
  /** Bytes that are there already, verified to nothing yet: a download goes on after them. */
  readonly offset: number;
  write(chunks: readonly Uint8Array[]): Promise<void>;
  /** Throws away what was written: the server starts from the beginning. */
  restart(): Promise<void>;
  /**
   * Makes it a blob. Without an expected digest it gets the sha256 of what was written. Throws `corrupt`, and discards, when it's
   * another one. `claim` is called just before it appears, and what it returns is disposed of afterwards: the moment to hold it.
   */
  commit(claim?: (digest: Digest) => Promise<Disposable>): Promise<{ digest: Digest; size: number }>;
  /** Leaves what is there for a later attempt at the same digest. */
  keep(): Promise<void>;
  discard(): Promise<void>;
}

export interface BlobInfo {
  readonly digest: Digest;
  readonly size: number;
  readonly modifiedAt: number;
}

/** A file below `ingest`. With a digest: another attempt may go on with it, under that digest's lease. */
export interface Unfinished {
  readonly name: string;
  readonly digest?: Digest;
  readonly size: number;
  readonly modifiedAt: number;
}

/** How much is written before the kernel is told to begin with putting it on the disk, so that the final sync is short. */
const syncEveryBytes = 32 << 20;

/**
 * Blobs by digest: `<root>/<algorithm>/<hex>`, complete and verified or not there. What is being written is below `<root>/ingest`:
 * `<algorithm>-<hex>` for a download that may be resumed, `new-<pid>-<start>-<random>` for what has no digest yet.
 * Writers of one digest take turns by a lease of the caller's.
 */
export class ContentStore {
  readonly root: string;
  readonly #ingest: string;

  constructor(root: string) {
    this.root = root;
    this.#ingest = join(root, 'ingest');
  }

  path(digest: Digest): string {
    return join(this.root, algorithmOf(digest), hexOf(digest));
  }

  /** Its size, or undefined. */
  async has(digest: Digest): Promise<number | undefined> {
    try {
      return (await stat(this.path(digest))).size;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw fromSystemError(error, `looking for ${digest}`);
    }
  }

  /** The whole of a small blob, verified once more. */
  async read(digest: Digest, maxBytes: number): Promise<Buffer> {
    let bytes: Buffer;
    try {
      await using file = await open(this.path(digest));
      const { size } = await file.stat();
      if (size > maxBytes) throw new KeelsonError('corrupt', `${digest}: has ${size} bytes, more than ${maxBytes}`);
      bytes = await file.readFile();
    } catch (error) {
      throw fromSystemError(error, `reading ${digest}`);
    }
    verify(bytes, digest);
    return bytes;
  }

  stream(digest: Digest, options: { start?: number; end?: number } = {}): ReadStream {
    return createReadStream(this.path(digest), { highWaterMark: 1 << 20, ...options });
  }

  /** Keeps bytes that are at hand; returns their digest. */
  async put(bytes: Uint8Array): Promise<Digest> {
    const digest = digestOf(bytes);
    if ((await this.has(digest)) === bytes.length) return digest;
    const ingest = await this.create();
    try {
      await ingest.write([bytes]);
    } catch (error) {
      await ingest.discard();
      throw error;
    }
    await ingest.commit();
    return digest;
  }

  /** Begins or resumes a blob whose digest and size are known. What an earlier attempt left is hashed first. */
  async resume(digest: Digest, size: number): Promise<Ingest> {
    const path = join(this.#ingest, `${algorithmOf(digest)}-${hexOf(digest)}`);
    const ingest = await this.#open(path, 'a+', algorithmOf(digest), { digest, size });
    try {
      await ingest.takeOver();
    } catch (error) {
      await ingest.discard();
      throw error;
    }
    return ingest;
  }

  /** Begins a blob whose digest will be known, or seen to be the expected one, at its end. */
  async create(expected?: Digest): Promise<Ingest> {
    const { pid, start } = ownIdentity();
    const name = `new-${pid}-${start}-${randomBytes(6).toString('hex')}`;
    const algorithm = expected === undefined ? 'sha256' : algorithmOf(expected);
    return this.#open(join(this.#ingest, name), 'ax', algorithm, expected && { digest: expected, size: undefined });
  }

  async remove(digest: Digest): Promise<void> {
    try {
      await unlink(this.path(digest));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw fromSystemError(error, `removing ${digest}`);
    }
  }

  async list(): Promise<BlobInfo[]> {
    const found: BlobInfo[] = [];
    for (const algorithm of ['sha256', 'sha512'] satisfies DigestAlgorithm[]) {
      for (const name of await namesIn(join(this.root, algorithm))) {
        const digest = `${algorithm}:${name}`;
        const info = isDigest(digest) ? await statOf(this.path(digest)) : undefined;
        if (info && isDigest(digest)) found.push({ digest, size: info.size, modifiedAt: info.mtimeMs });
      }
    }
    return found;
  }

  /** What unfinished writing has left: partial blobs by their digest, and what a process that is gone was writing. */
  async listUnfinished(): Promise<Unfinished[]> {
    const found: Unfinished[] = [];
    for (const name of await namesIn(this.#ingest)) {
      if (isBeingWritten(name)) continue;
      const info = await statOf(join(this.#ingest, name));
      const digest = name.replace('-', ':');
      if (info) found.push({ name, size: info.size, modifiedAt: info.mtimeMs, ...(isDigest(digest) && { digest }) });
    }
    return found;
  }

  async removeUnfinished({ name }: Unfinished): Promise<void> {
    await rm(join(this.#ingest, name), { force: true });
  }

  async #open(
    path: string,
    flags: string,
    algorithm: DigestAlgorithm,
    expected: { digest: Digest; size: number | undefined } | undefined,
  ): Promise<FileIngest> {
    try {
      await mkdir(this.#ingest, { recursive: true, mode: 0o700 });
      await mkdir(join(this.root, algorithm), { recursive: true, mode: 0o700 });
      return new FileIngest(this, path, await open(path, flags, 0o600), algorithm, expected);
    } catch (error) {
      throw fromSystemError(error, `writing ${path}`);
    }
  }
}

class FileIngest implements Ingest {
  offset = 0;
  readonly #store: ContentStore;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #algorithm: DigestAlgorithm;
  readonly #expected: { digest: Digest; size: number | undefined } | undefined;
  #hash: Hash;
  #unsynced = 0;
  #syncing: Promise<void> | undefined;

  constructor(
    store: ContentStore,
    path: string,
    file: FileHandle,
    algorithm: DigestAlgorithm,
    expected: { digest: Digest; size: number | undefined } | undefined,
  ) {
    this.#store = store;
    this.#path = path;
    this.#file = file;
    this.#algorithm = algorithm;
    this.#expected = expected;
    this.#hash = createHash(algorithm);
  }

  /** Hashes what an earlier attempt wrote. */
  async takeOver(): Promise<void> {
    const { size } = await this.#file.stat();
    if (size > (this.#expected?.size ?? size)) return this.restart();
    const buffer = Buffer.allocUnsafe(1 << 20);
    while (this.offset < size) {
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, this.offset);
      if (bytesRead === 0) break;
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.offset += bytesRead;
    }
  }

  async write(chunks: readonly Uint8Array[]): Promise<void> {
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    if (this.#expected?.size !== undefined && this.offset + bytes > this.#expected.size) {
      throw new KeelsonError(
        'corrupt',
        `${this.#expected.digest}: is longer than the ${this.#expected.size} bytes that its descriptor says`,
      );
    }
    for (const chunk of chunks) this.#hash.update(chunk);
    try {
      let written = (await this.#file.writev(chunks)).bytesWritten;
      // A short write is how a file system says that it is nearly full: the next one tells.
      if (written < bytes) {
        const rest = Buffer.concat(chunks);
        while (written < bytes) written += (await this.#file.write(rest, written)).bytesWritten;
      }
    } catch (error) {
      throw fromSystemError(error, `writing ${this.#path}`);
    }
    this.offset += bytes;
    this.#syncAhead(bytes);
  }

  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.#hash = createHash(this.#algorithm);
    this.offset = 0;
  }

  async commit(claim?: (digest: Digest) => Promise<Disposable>): Promise<{ digest: Digest; size: number }> {
    const digest = `${this.#algorithm}:${this.#hash.digest('hex')}` satisfies Digest;
    const expected = this.#expected;
    const size = expected?.size ?? this.offset;
    if (expected && (this.offset !== size || digest !== expected.digest)) {
      await this.discard();
      const why =
        this.offset === size
          ? `its bytes have the digest ${digest}`
          : `it has ${this.offset} bytes, its descriptor says ${size}`;
      throw new KeelsonError('corrupt', `${expected.digest}: ${why}`);
    }
    try {
      await this.#syncing;
      await this.#file.datasync();
      await this.#file.close();
      const path = this.#store.path(digest);
      using _claimed = await claim?.(digest);
      await rename(this.#path, path);
      // Without this a power cut may forget the name, and with it a blob that the database counts on.
      await using dir = await open(join(path, '..'));
      await dir.sync();
    } catch (error) {
      await this.discard();
      throw fromSystemError(error, `writing ${digest}`);
    }
    return { digest, size: this.offset };
  }

  async keep(): Promise<void> {
    await this.#syncing;
    await this.#file.close();
  }

  async discard(): Promise<void> {
    await this.#syncing;
    await this.#file.close().catch(() => {});
    await rm(this.#path, { force: true });
  }

  #syncAhead(bytes: number): void {
    this.#unsynced += bytes;
    if (this.#unsynced < syncEveryBytes || this.#syncing !== undefined) return;
    this.#unsynced = 0;
    // Its failure is seen again, and reported, by the final one.
    this.#syncing = this.#file
      .datasync()
      .catch(() => {})
      .finally(() => {
        this.#syncing = undefined;
      });
  }
}

export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}

/** Throws `corrupt` unless the bytes have this digest. `what` begins the message. */
export function verify(bytes: Uint8Array, digest: Digest, what: string = digest): void {
  const found = digestOf(bytes, algorithmOf(digest));
  if (found !== digest) {
    throw new KeelsonError('corrupt', `${what}: its bytes have the digest ${found}, not ${digest}`);
  }
}

function isBeingWritten(name: string): boolean {
  const owner = /^new-(\d+)-(\d+)-/.exec(name);
  return owner !== null && isAlive({ ...ownIdentity(), pid: Number(owner[1]), start: Number(owner[2]) });
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw fromSystemError(error, `reading ${dir}`);
  }
}

async function statOf(path: string): Promise<{ size: number; mtimeMs: number } | undefined> {
  return stat(path).catch(() => undefined);
}
