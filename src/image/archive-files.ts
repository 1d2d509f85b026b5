import { posix } from 'node:path';
import type { Context } from '../ground/context.ts';
import { isKeelsonError, KeelsonError } from '../ground/errors.ts';
import { type Digest, isDigest } from '../spec/digest.ts';
import { parseJson } from '../spec/image.ts';
import { compressionOf } from './decompress.ts';
import type { Hold } from './hold.ts';
import type { ImageBackend } from './image-backend.ts';
import { readTar, type TarReadItem } from './tar-read.ts';

/** A file of the archive, now a blob in the store. */
export interface ArchivedBlob {
  readonly digest: Digest;
  readonly size: number;
  readonly compression: ReturnType<typeof compressionOf>;
}

/** The JSON documents at the archive's top that tell what the rest is. */
const indexNames = ['manifest.json', 'index.json', 'oci-layout', 'repositories'];
const maxIndexBytes = 16 << 20;
/** Real archives have some hundred. */
const maxEntries = 100_000;
const maxPath = 1024;
const maxPadding = 16 << 20;

/**
 * What an image archive holds, by path: its documents parsed, every other file a blob in the store. Nothing of it is extracted to a path. The blobs are held
 * by `hold`; those that turn out not to be needed are the caller's to collect (`all`).
 */
export class ArchiveFiles {
  readonly #documents = new Map<string, unknown>();
  readonly #blobs = new Map<string, ArchivedBlob>();
  readonly #links = new Map<string, string>();

  /** Reads the archive to its end. What was taken in before it turned out to be damaged is among `all` too. */
  async read(
    context: Context,
    backend: ImageBackend,
    plain: AsyncIterable<Uint8Array>,
    hold: Hold,
    what: string,
  ): Promise<void> {
    const chunks = plain[Symbol.asyncIterator]();
    let entries = 0;
    try {
      const archive = { [Symbol.asyncIterator]: () => ({ next: async () => chunks.next() }) };
      for await (const item of readTar(archive, { what })) {
        context.check(what);
        if (++entries > maxEntries) throw new KeelsonError('corrupt', `${what}: has more than ${maxEntries} entries`);
        await this.#take(context, backend, item, hold, what);
      }
      // What follows the archive's end is padding; a compressed stream's own checksum comes after it, and who writes to us must not get a broken pipe.
      for (let rest = 0; rest < maxPadding; ) {
        const next = await chunks.next();
        if (next.done) break;
        rest += next.value.length;
      }
    } finally {
      await chunks.return?.();
    }
  }

  document(name: string): unknown {
    return this.#documents.get(name);
  }

  /** Follows the links that old archives have for layers that images share. */
  blob(path: string): ArchivedBlob | undefined {
    let at = clean(path);
    for (let hops = 0; hops < 8 && at !== undefined; hops++) {
      const found = this.#blobs.get(at);
      if (found) return found;
      const target = this.#links.get(at);
      at = target === undefined ? undefined : clean(posix.join(posix.dirname(at), target));
    }
    return undefined;
  }

  byDigest(digest: Digest): ArchivedBlob | undefined {
    return this.#blobs.get(`blobs/${digest.replace(':', '/')}`);
  }

  all(): Digest[] {
    return [...this.#blobs.values()].map(({ digest }) => digest);
  }

  async #take(context: Context, backend: ImageBackend, item: TarReadItem, hold: Hold, what: string): Promise<void> {
    const { entry, content } = item;
    const path = entry.path.length > maxPath ? undefined : clean(entry.path);
    if (path === undefined) {
      throw new KeelsonError(
        'corrupt',
        `${what}: the entry ${JSON.stringify(entry.path.slice(0, 200))} lies outside of the archive`,
      );
    }
    if (entry.type === 'symlink' || entry.type === 'hardlink') {
      // A hard link's target is from the archive's top, a symbolic one's from where it is.
      const target = entry.link ?? '';
      this.#links.set(path, entry.type === 'symlink' ? target : posix.relative(posix.dirname(path), target));
      return;
    }
    if (entry.type !== 'file') return;
    if (indexNames.includes(path)) {
      this.#documents.set(path, parseJson(await item.bytes(maxIndexBytes), `${what}: ${path}`));
      return;
    }
    // Of docker's archives before 1.10; the same is in manifest.json and the config.
    if (/(^|\/)(VERSION|json)$/.test(path)) return;
    this.#blobs.set(path, await store(context, backend, path, entry.size, content, hold, what));
  }
}

async function store(
  context: Context,
  backend: ImageBackend,
  path: string,
  size: number,
  content: AsyncIterable<Buffer>,
  hold: Hold,
  what: string,
): Promise<ArchivedBlob> {
  const claimed = digestOfPath(path);
  const ingest = await backend.store.create(claimed);
  let head: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of content) {
      context.check(what);
      if (head.length < 6) head = Buffer.concat([head, chunk.subarray(0, 6)]).subarray(0, 6);
      await ingest.write([chunk]);
    }
  } catch (error) {
    await ingest.discard();
    throw error;
  }
  try {
    const { digest } = await ingest.commit(async (made) => hold.claim(context, made, what));
    return { digest, size, compression: compressionOf(head) };
  } catch (error) {
    if (!isKeelsonError(error, 'corrupt')) throw error;
    throw new KeelsonError('corrupt', `${what}: ${path}: ${error.message}`, { cause: error });
  }
}

function digestOfPath(path: string): Digest | undefined {
  const [, algorithm, hex] = /^blobs\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
  const digest = `${algorithm}:${hex}`;
  return isDigest(digest) ? digest : undefined;
}

/** `./a//b` is `a/b`; undefined for what leads out. */
function clean(path: string): string | undefined {
  const normal = posix.normalize(path).replace(/\/$/, '');
  return normal.startsWith('/') || normal === '..' || normal.startsWith('../') ? undefined : normal;
}
