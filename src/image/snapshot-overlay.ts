import { chmod, chown, mkdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context } from '../ground/context.ts';
import { fromSystemError } from '../ground/errors.ts';
import type { RootSource } from '../runtime/rootfs.ts';
import type { Digest } from '../spec/digest.ts';
import { layerOfUpper, overlayChanges, type Changes } from './container-changes.ts';
import { hostRoot, makeHostRoot } from './host-root.ts';
import { LowerView } from './lower-view.ts';
import { packTree } from './pack.ts';
import { usageOf } from './tree-usage.ts';
import { type SnapshotOptions, SnapshotLayers } from './snapshot-layers.ts';
import type { Change, ContainerBase, LayerSource, Snapshotter, Usage } from './snapshotter.ts';
import { tarEnd } from './tar-header.ts';
import { readTar } from './tar-read.ts';

/**
 * Layers as directories that overlayfs stacks; a container adds `containers/<id>/{upper,work}`. Nothing is mounted here: the container's own
 * mount namespace does that.
 */
export class OverlaySnapshotter implements Snapshotter {
  readonly name = 'overlay';
  readonly needsParent = false;
  readonly #layers: SnapshotLayers;
  /** Who is not root can't set trusted.* attributes: overlayfs is told to use user.*. */
  readonly #userxattr: boolean;

  constructor(options: SnapshotOptions) {
    this.#userxattr = options.ids !== undefined;
    const whiteouts = this.#userxattr ? 'overlay-userxattr' : 'overlay';
    this.#layers = new SnapshotLayers({ ...options, driver: 'overlay', whiteouts });
  }

  has(chainId: Digest): Promise<boolean> {
    return this.#layers.has(chainId);
  }

  prepareLayer(context: Context, layer: LayerSource): Promise<{ size: number }> {
    return this.#layers.prepare(context, layer);
  }

  remove(chainId: Digest): Promise<void> {
    return this.#layers.remove(chainId);
  }

  list(): Promise<Digest[]> {
    return this.#layers.list();
  }

  async usage(chainId: Digest): Promise<Usage> {
    const { size, inodes } = await this.#layers.record(chainId);
    return { size, inodes };
  }

  sweep(): Promise<void> {
    return this.#layers.sweep();
  }

  async containerRoot(context: Context, container: string, base: ContainerBase): Promise<RootSource> {
    if (base.kind === 'image') await this.#layers.settle(context, base.chain);
    const directory = this.#layers.containerDirectory(container);
    const root = await this.#root(directory, base);
    if (!(await this.#layers.hasContainer(container))) await this.#make(container, directory, root);
    // Each time: the machine's root may have got directories since.
    if (root.kind === 'split') await makeHostRoot(root);
    return root;
  }

  async previewRoot(container: string, base: ContainerBase): Promise<RootSource> {
    return this.#root(this.#layers.containerDirectory(container), base);
  }

  removeContainer(container: string): Promise<void> {
    return this.#layers.discard(this.#layers.containerDirectory(container));
  }

  containers(): Promise<string[]> {
    return this.#layers.containers();
  }

  async containerUsage(context: Context, container: string): Promise<Usage> {
    if (!(await this.#layers.hasContainer(container))) return { size: 0, inodes: 0 };
    return this.#layers.withScratch((scratch) => usageOf(this.#pack(context, container, scratch, true)));
  }

  async changes(context: Context, container: string, base: ContainerBase): Promise<Change[]> {
    if (!(await this.#layers.hasContainer(container))) return [];
    return this.#layers.withScratch(
      async (scratch) => (await this.#changes(context, container, base, scratch)).changes,
    );
  }

  async *changedFiles(context: Context, container: string, base: ContainerBase): AsyncGenerator<Uint8Array> {
    if (!(await this.#layers.hasContainer(container))) {
      yield tarEnd;
      return;
    }
    const scratch = await this.#layers.temporary();
    try {
      const changes = await this.#changes(context, container, base, scratch);
      yield* layerOfUpper(this.#pack(context, container, scratch, false), changes);
    } finally {
      await this.#layers.discard(scratch);
    }
  }

  async #root(directory: string, base: ContainerBase): Promise<RootSource> {
    const own = { upper: join(directory, 'upper'), work: join(directory, 'work') };
    if (base.kind === 'host') {
      return this.#userxattr ? hostRoot(own.upper, own.work) : { kind: 'overlay', lower: ['/'], ...own };
    }
    const lower = await this.#lower(base.chain);
    return { kind: 'overlay', lower, ...own, ...(this.#userxattr && { userxattr: true }) };
  }

  async #make(container: string, directory: string, root: RootSource): Promise<void> {
    const place = await this.#layers.temporary();
    try {
      await mkdir(join(place, 'work'), { mode: 0o700 });
      await mkdir(join(place, 'upper'));
      if (root.kind === 'overlay') {
        // The top directory of an overlay is the upper one: it looks as that of the topmost layer.
        const { mode, uid, gid } = await stat(root.lower[0] as string);
        await chmod(join(place, 'upper'), mode & 0o7777);
        if (!this.#userxattr) await chown(join(place, 'upper'), uid, gid);
      }
      await mkdir(join(directory, '..'), { recursive: true, mode: 0o700 });
      await rename(place, directory);
    } catch (error) {
      await this.#layers.discard(place);
      throw fromSystemError(error, `making the root of container ${container}`);
    }
  }

  /** Topmost first, down to a layer whose root hides all below. */
  async #lower(chain: readonly Digest[]): Promise<string[]> {
    const records = await this.#layers.records(chain);
    const lowest = records.findLastIndex((record) => record.opaque.includes(''));
    const lower = chain.slice(Math.max(0, lowest)).map((id) => this.#layers.files(id));
    if (lower.length > 0) return lower.toReversed();
    // overlayfs wants something to lay over.
    const empty = join(this.#layers.top, 'empty');
    await mkdir(empty, { recursive: true, mode: 0o755 });
    return [empty];
  }

  async #changes(context: Context, container: string, base: ContainerBase, scratch: string): Promise<Changes> {
    const host = base.kind === 'host';
    const lower = new LowerView(host ? [{ files: '/', opaque: new Set() }] : await this.#layers.view(base.chain));
    const headers = readTar(this.#pack(context, container, scratch, true), { headersOnly: true });
    return overlayChanges(headers, lower, { splitTop: host && this.#userxattr, ids: this.#layers.ids });
  }

  #pack(context: Context, container: string, scratch: string, headersOnly: boolean): AsyncIterable<Uint8Array> {
    const { keel, ids } = this.#layers;
    const from = join(this.#layers.containerDirectory(container), 'upper');
    return packTree(keel, { from, scratch, overlay: true, headersOnly, ...(ids && { ids }) }, context);
  }
}
