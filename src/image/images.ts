import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Context } from '../ground/context.ts';
import { isKeelsonError, KeelsonError } from '../ground/errors.ts';
import type { Paths } from '../ground/paths.ts';
import { Slots } from '../ground/together.ts';
import type { Digest } from '../spec/digest.ts';
import type { Database } from '../store/database.ts';
import { ImageTables } from '../store/images.ts';
import type { Leases } from '../store/leases.ts';
import { type Collected, collectAll, recover } from './collect.ts';
import { ContentStore } from './content-store.ts';
import type { Credentials } from './credentials.ts';
import { createImage, type NewLayerImage } from './create-image.ts';
import { findImage, type FoundImage } from './find-image.ts';
import type { ImageBackend, ImageUser } from './image-backend.ts';
import { type HistoryLine, type ImageDetails, imageDetails, imageHistory } from './image-details.ts';
import { type ImportOptions, importImage } from './import.ts';
import { type ImageFilters, listImages } from './list-images.ts';
import { type LoadedImage, loadImages } from './load.ts';
import { formatPlatform, rank } from './platform.ts';
import { pruneImages } from './prune-images.ts';
import { pullImage, type PullOptions, type PullResult } from './pull.ts';
import { pushImage, type PushResult } from './push.ts';
import { formatReference, parseReference } from './reference.ts';
import { Registries, type RegistriesOptions } from './registries.ts';
import { removeImage, type Removal } from './remove-image.ts';
import { imagesToSave, saveImages } from './save.ts';
import type { Snapshotter } from './snapshotter.ts';
import type { ImageSummary, Platform } from './types.ts';

export interface ImagesOptions {
  readonly paths: Pick<Paths, 'root'>;
  readonly db: Database;
  readonly leases: Leases;
  readonly snapshotter: Snapshotter;
  /** The containers of an image. Called inside a transaction: must only read the database. */
  readonly users?: (imageId: string) => readonly ImageUser[];
  /** Settings, credentials, patience: other than the defaults. */
  readonly registries?: RegistriesOptions;
}

/**
 * The images of a data root. Names are taken as users write them (`alpine`, `alpine:3`, an id or its beginning) and given back normalised. Any
 * number of processes may work on the same root at once.
 *
 *     const { id } = await images.pull(context, 'alpine');
 */
export class Images implements Disposable {
  readonly registries: Registries;
  readonly #backend: ImageBackend;

  constructor(options: ImagesOptions) {
    this.registries = new Registries(options.registries);
    this.#backend = {
      tables: new ImageTables(options.db),
      leases: options.leases,
      store: new ContentStore(join(options.paths.root, 'content')),
      snapshotter: options.snapshotter,
      registries: this.registries,
      downloads: new Slots(() => this.registries.maxDownloads),
      unpacks: new Slots(() => Math.max(2, availableParallelism())),
      uploads: new Slots(() => this.registries.maxUploads),
      users: options.users ?? (() => []),
    };
  }

  async pull(context: Context, reference: string, options: PullOptions = {}): Promise<PullResult> {
    const parsed = parseReference(reference);
    return context.span(`pull ${reference}`, async () => pullImage(context, this.#backend, parsed, options));
  }

  async push(context: Context, reference: string, options: { credentials?: Credentials } = {}): Promise<PushResult> {
    const parsed = parseReference(reference);
    return context.span(`push ${reference}`, async () => pushImage(context, this.#backend, parsed, options));
  }

  /** Finds an image that is here. Throws `not-found`. */
  find(text: string): FoundImage {
    return findImage(this.#backend.tables, text);
  }

  /** The image, pulled as the policy says. `missing` (the default): unless one of the platform is here. */
  async resolve(
    context: Context,
    text: string,
    options: PullOptions & { pull?: 'always' | 'missing' | 'never' } = {},
  ): Promise<ImageDetails> {
    const { pull = 'missing', ...rest } = options;
    if (pull !== 'always') {
      const found = this.#here(text);
      if (found !== undefined && (pull === 'never' || this.#isFor(found, rest.platform))) {
        this.#checkPlatform(found, text, rest.platform);
        return imageDetails(this.#backend, found);
      }
      if (pull === 'never') findImage(this.#backend.tables, text);
    }
    const { id } = await this.pull(context, text, rest);
    return imageDetails(this.#backend, id);
  }

  async inspect(text: string): Promise<ImageDetails> {
    return imageDetails(this.#backend, this.find(text).id);
  }

  async history(text: string): Promise<HistoryLine[]> {
    return imageHistory(await this.inspect(text));
  }

  list(filters: ImageFilters = {}): ImageSummary[] {
    return listImages(this.#backend, filters);
  }

  /** Gives an image one more name, taken from the image that had it. Returns its id. */
  tag(source: string, target: string): Digest {
    const { tables } = this.#backend;
    const reference = parseReference(target);
    if (reference.digest !== undefined) {
      throw new KeelsonError('invalid-argument', 'refusing to create a tag with a digest reference');
    }
    return tables.db.immediate(() => {
      const { id } = findImage(tables, source);
      tables.name(formatReference(reference), id);
      return id;
    });
  }

  async remove(context: Context, text: string, options: { force?: boolean } = {}): Promise<Removal[]> {
    await recover(context, this.#backend);
    return removeImage(this.#backend, text, options);
  }

  /** The images that `save` would put into an archive. Throws `not-found` before anything is written. */
  toSave(texts: readonly string[]): FoundImage[] {
    return texts.flatMap((text) => imagesToSave(this.#backend, text));
  }

  /** An archive of the images, as a stream. */
  save(context: Context, texts: readonly string[]): AsyncGenerator<Uint8Array> {
    return saveImages(context, this.#backend, texts);
  }

  async load(
    context: Context,
    archive: AsyncIterable<Uint8Array>,
    options: { platform?: Platform } = {},
  ): Promise<LoadedImage[]> {
    return context.span('load', async () => loadImages(context, this.#backend, archive, options));
  }

  async import(context: Context, tar: AsyncIterable<Uint8Array>, options: ImportOptions = {}): Promise<Digest> {
    return context.span('import', async () => importImage(context, this.#backend, tar, options));
  }

  /** Makes an image of a base and a layer: for `commit` and builds. */
  async create(context: Context, image: NewLayerImage): Promise<Digest> {
    return context.span('create image', async () => createImage(context, this.#backend, image));
  }

  /** Chain ids of an image's layers, from the bottom up: what a container's root is stacked from. Also of a removed image that a container still uses. */
  chainIds(id: string): Digest[] {
    return this.#backend.tables.layers(id).map(({ chainId }) => chainId);
  }

  /** Whether the image is there; for the transaction that makes a container of it. */
  exists(id: string): boolean {
    return this.#backend.tables.get(id) !== undefined;
  }

  /** To be called when a container is gone: an image that was only kept for it goes too. */
  async released(id: string): Promise<void> {
    if (this.#backend.tables.hidden().some((each) => each === id)) await collectAll(this.#backend);
  }

  /** Removes images without a name, or with `all` those without a container, and everything that nothing needs. */
  async prune(
    context: Context,
    options: { all?: boolean; filters?: ImageFilters } = {},
  ): Promise<{ removals: readonly Removal[]; bytes: number }> {
    return context.span('prune images', async () => pruneImages(this.#backend, options));
  }

  /** Puts in order what processes that died in the middle of their work have left. Cheap when there is nothing. */
  async recover(context: Context): Promise<void> {
    await recover(context, this.#backend);
  }

  /** Removes every blob and layer that nothing needs, also what was kept for a next attempt to pull. */
  async collect(): Promise<Collected> {
    return collectAll(this.#backend, { all: true });
  }

  /** Bytes on disk, for `system df`: unpacked layers, and blobs, of all images together. */
  diskUsage(): { readonly layers: number; readonly blobs: number } {
    return this.#backend.tables.diskUsage();
  }

  [Symbol.dispose](): void {
    this.registries[Symbol.dispose]();
  }

  #here(text: string): Digest | undefined {
    try {
      return findImage(this.#backend.tables, text).id;
    } catch (error) {
      if (isKeelsonError(error, 'not-found')) return undefined;
      throw error;
    }
  }

  #isFor(id: Digest, platform: Platform | undefined): boolean {
    const row = this.#backend.tables.get(id);
    return platform === undefined || (row !== undefined && rank(platform, row) !== undefined);
  }

  #checkPlatform(id: Digest, text: string, platform: Platform | undefined): void {
    if (platform === undefined || this.#isFor(id, platform)) return;
    const row = this.#backend.tables.get(id);
    throw new KeelsonError(
      'not-found',
      `image with reference ${text} was found but its platform (${row ? formatPlatform(row) : 'unknown'}) does not match the specified platform (${formatPlatform(platform)})`,
    );
  }
}
