import { randomBytes } from '../ground/crypto.ts';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context } from '../ground/context.ts';
import { fromSystemError, KeelsonError } from '../ground/errors.ts';
import type { Keel } from '../kernel/keel.ts';
import { algorithmOf, type Digest, hexOf, isDigest } from '../spec/digest.ts';
import { isAlive, ownIdentity } from '../store/process-identity.ts';
import { unpackLayer } from './layer.ts';
import type { ViewLayer } from './lower-view.ts';
import { finishLayer, settleImplied } from './overlay-marks.ts';
import { removeAny } from './remove-any.ts';
import type { SandboxIds } from './sandbox.ts';
import type { LayerSource, Usage } from './snapshotter.ts';
import type { UnpackOptions } from './unpack.ts';

/** What is written down beside a layer's files. Paths are base64: names need not be UTF-8. */
export interface LayerRecord extends Usage {
  readonly chainId: Digest;
  readonly diffId: Digest;
  /** Directories in which nothing of the layers below shows; '' is the root. */
  readonly opaque: readonly string[];
  /** Directories that no entry told of and that have not got owner and mode of those below yet. */
  readonly implied: readonly string[];
}

export interface SnapshotOptions {
  readonly keel: Keel;
  /** The data root. */
  readonly root: string;
  /** For who is not root: the user namespace in which files get their owners. */
  readonly ids?: SandboxIds;
}

/**
 * The unpacked layers of a driver: `<root>/snapshots/<driver>/<algorithm>-<hex>/{fs,layer.json}`, whole or not there. What is being made or
 * removed is in `temporary/<pid>-<start>-<random>`; containers' directories are in `containers`.
 */
export class SnapshotLayers {
  readonly top: string;
  readonly keel: Keel;
  readonly ids: SandboxIds | undefined;
  readonly #whiteouts: UnpackOptions['whiteouts'];
  readonly #settled = new Set<Digest>();

  constructor(options: SnapshotOptions & { driver: string; whiteouts: UnpackOptions['whiteouts'] }) {
    this.top = join(options.root, 'snapshots', options.driver);
    this.keel = options.keel;
    this.ids = options.ids;
    this.#whiteouts = options.whiteouts;
  }

  /** The layer's files. */
  files(chainId: Digest): string {
    return join(this.#directory(chainId), 'fs');
  }

  async has(chainId: Digest): Promise<boolean> {
    return (await stat(join(this.#directory(chainId), 'layer.json')).catch(absent)) !== undefined;
  }

  async record(chainId: Digest): Promise<LayerRecord> {
    const path = join(this.#directory(chainId), 'layer.json');
    try {
      return JSON.parse(await readFile(path, 'utf8')) as LayerRecord;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw fromSystemError(error, `reading ${path}`);
      throw new KeelsonError('not-found', `layer ${chainId} is not unpacked here`, { cause: error });
    }
  }

  async records(chain: readonly Digest[]): Promise<LayerRecord[]> {
    return Promise.all(chain.map((chainId) => this.record(chainId)));
  }

  async prepare(context: Context, layer: LayerSource): Promise<{ size: number }> {
    if (await this.has(layer.chainId)) return { size: (await this.record(layer.chainId)).size };
    const place = await this.temporary();
    try {
      const files = join(place, 'fs');
      await mkdir(files, { mode: 0o755 });
      const unpacked = await unpackLayer(
        this.keel,
        this.#blob(layer),
        {
          ...{ what: layer.doing, doing: layer.doing, diffId: layer.diffId },
          ...{ into: files, scratch: place, whiteouts: this.#whiteouts },
          ...(this.ids && { ids: this.ids, privileges: 'lenient' }),
        },
        context,
      );
      const record: LayerRecord = {
        chainId: layer.chainId,
        diffId: unpacked.diffId,
        size: unpacked.fileBytes,
        inodes: unpacked.entries + unpacked.implied.length,
        opaque: unpacked.opaque.map((path) => path.toString('base64')),
        implied: unpacked.implied.map((path) => path.toString('base64')),
      };
      await writeFile(join(place, 'layer.json'), JSON.stringify(record));
      const marks = this.#whiteouts === 'overlay' ? unpacked.opaque.filter((path) => path.length > 0) : [];
      await finishLayer(this.keel, files, marks, context);
      await this.#publish(place, this.#directory(layer.chainId));
      return { size: record.size };
    } catch (error) {
      await this.discard(place);
      throw error;
    }
  }

  async remove(chainId: Digest): Promise<void> {
    await this.discard(this.#directory(chainId));
    this.#settled.delete(chainId);
  }

  async list(): Promise<Digest[]> {
    const names = await namesIn(this.top);
    return names.map((name) => name.replace('-', ':')).filter(isDigest);
  }

  /**
   * Gives the directories that a layer only implied owner, mode and time of those below, once for each layer: what is below is known
   * only when a whole chain is used. Doing it again does no harm.
   */
  async settle(context: Context, chain: readonly Digest[]): Promise<LayerRecord[]> {
    const records: LayerRecord[] = [];
    for (const [i, chainId] of chain.entries()) {
      const record = await this.record(chainId);
      records.push(record);
      if (record.implied.length === 0 || this.#settled.has(chainId)) continue;
      const below = chain
        .slice(0, i)
        .map((c) => this.#name(c))
        .toReversed();
      const paths = record.implied.map((path) => Buffer.from(path, 'base64'));
      await settleImplied(this.keel, { top: this.top, own: this.#name(chainId), below, paths, ids: this.ids }, context);
      const settled = join(this.#directory(chainId), `layer.json.${process.pid}`);
      await writeFile(settled, JSON.stringify({ ...record, implied: [] }));
      await rename(settled, join(this.#directory(chainId), 'layer.json'));
      this.#settled.add(chainId);
    }
    return records;
  }

  /** The layers as they can be looked at, topmost first. */
  async view(chain: readonly Digest[]): Promise<ViewLayer[]> {
    const layers = chain.map(async (id): Promise<ViewLayer> => {
      const { opaque } = await this.record(id);
      const paths = opaque.map((path) => Buffer.from(path, 'base64').toString());
      return { files: this.files(id), opaque: new Set(paths) };
    });
    return (await Promise.all(layers)).toReversed();
  }

  /** A new directory of this process's own, for what is not to be seen until it is whole. */
  async temporary(): Promise<string> {
    const { pid, start } = ownIdentity();
    const place = join(this.top, 'temporary', `${pid}-${start}-${randomBytes(6).toString('hex')}`);
    try {
      await mkdir(place, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw fromSystemError(error, `making ${place}`);
    }
    return place;
  }

  /** Runs `work` with a private directory for its time. */
  async withScratch<T>(work: (directory: string) => Promise<T>): Promise<T> {
    const place = await this.temporary();
    try {
      return await work(place);
    } finally {
      await this.discard(place);
    }
  }

  /** Moves a directory out of sight, then removes it. No error when it isn't there. */
  async discard(path: string): Promise<void> {
    const { pid, start } = ownIdentity();
    const name = `${pid}-${start}-${randomBytes(6).toString('hex')}`;
    const away = join(this.top, 'temporary', name);
    try {
      await mkdir(join(this.top, 'temporary'), { recursive: true, mode: 0o700 });
      await rename(path, away);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw fromSystemError(error, `removing ${path}`);
    }
    await removeAny(this.keel, join(this.top, 'temporary'), name, this.ids);
  }

  async sweep(): Promise<void> {
    for (const name of await namesIn(join(this.top, 'temporary'))) {
      const owner = /^(\d+)-(\d+)-/.exec(name);
      if (owner && isAlive({ ...ownIdentity(), pid: Number(owner[1]), start: Number(owner[2]) })) continue;
      // Another process may be at it too.
      await removeAny(this.keel, join(this.top, 'temporary'), name, this.ids).catch(() => {});
    }
  }

  containerDirectory(container: string): string {
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(container)) {
      throw new KeelsonError('invalid-argument', `${JSON.stringify(container)} is not a container's id`);
    }
    return join(this.top, 'containers', container);
  }

  async hasContainer(container: string): Promise<boolean> {
    return (await stat(this.containerDirectory(container)).catch(absent)) !== undefined;
  }

  async containers(): Promise<string[]> {
    return namesIn(join(this.top, 'containers'));
  }

  #name(chainId: Digest): string {
    return `${algorithmOf(chainId)}-${hexOf(chainId)}`;
  }

  #directory(chainId: Digest): string {
    return join(this.top, this.#name(chainId));
  }

  async *#blob(layer: LayerSource): AsyncGenerator<Buffer> {
    let done = 0;
    const chunks = createReadStream(layer.blob, { highWaterMark: 1 << 20 })[
      Symbol.asyncIterator
    ]() as AsyncIterator<Buffer>;
    try {
      for (;;) {
        const next = await chunks.next().catch((error: unknown) => {
          throw fromSystemError(error, layer.doing);
        });
        if (next.done) return;
        yield next.value;
        done += next.value.length;
        layer.progress?.(done);
      }
    } finally {
      await chunks.return?.();
    }
  }

  /** From here on it is there. When another process was faster, its one stays. */
  async #publish(place: string, directory: string): Promise<void> {
    try {
      await rename(place, directory);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw fromSystemError(error, `writing ${directory}`);
      await this.discard(place);
      return;
    }
    await using top = await open(this.top);
    await top.sync();
  }
}

function absent(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
  throw fromSystemError(error, 'looking for a layer');
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw fromSystemError(error, `reading ${directory}`);
  }
}
