import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context } from '../ground/context.ts';
import { fromSystemError, KeelsonError } from '../ground/errors.ts';
import type { RootSource } from '../runtime/rootfs.ts';
import type { Digest } from '../spec/digest.ts';
import { layerOfTree, treeChanges, type Changes } from './container-changes.ts';
import { LowerView } from './lower-view.ts';
import { packTree } from './pack.ts';
import { type SnapshotOptions, SnapshotLayers } from './snapshot-layers.ts';
import type { Change, ContainerBase, LayerSource, Snapshotter, Usage } from './snapshotter.ts';
import { tarEnd } from './tar-header.ts';
import { readTar } from './tar-read.ts';
import { usageOf } from './tree-usage.ts';
import { unpackTar } from './unpack.ts';

/**
 * For where overlayfs can't be had, as in another container: layers as directories with their whiteouts as they came; a container's root is
 * `containers/<id>/root`, into which all layers are copied, one after the other.
 */
export class NativeSnapshotter implements Snapshotter {
  readonly name = 'native';
  readonly needsParent = false;
  readonly #layers: SnapshotLayers;

  constructor(options: SnapshotOptions) {
    this.#layers = new SnapshotLayers({ ...options, driver: 'native', whiteouts: 'files' });
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
    const chain = chainOf(base);
    const root = await this.previewRoot(container, base);
    const directory = this.#layers.containerDirectory(container);
    if (await this.#layers.hasContainer(container)) return root;
    await this.#layers.settle(context, chain);
    const place = await this.#layers.temporary();
    try {
      await mkdir(join(place, 'root'), { mode: 0o755 });
      for (const id of chain) await this.#copy(context, this.#layers.files(id), place);
      await mkdir(join(directory, '..'), { recursive: true, mode: 0o700 });
      await rename(place, directory);
    } catch (error) {
      await this.#layers.discard(place);
      throw fromSystemError(error, `making the root of container ${container}`);
    }
    return root;
  }

  async previewRoot(container: string, base: ContainerBase): Promise<RootSource> {
    chainOf(base);
    return { kind: 'bind', path: join(this.#layers.containerDirectory(container), 'root') };
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
      yield* layerOfTree(this.#pack(context, container, scratch, false), changes);
    } finally {
      await this.#layers.discard(scratch);
    }
  }

  /** One layer over what is there: its archive, unpacked with its whiteouts removing. Packing puts those first. */
  async #copy(context: Context, layer: string, place: string): Promise<void> {
    const { keel, ids } = this.#layers;
    const sandbox = { scratch: place, ...(ids && { ids }) };
    const archive = packTree(keel, { from: layer, name: '.', ...sandbox }, context);
    const into = join(place, 'root');
    const lenient = ids ? ({ privileges: 'lenient' } as const) : {};
    await unpackTar(keel, archive, { into, whiteouts: 'delete', ...sandbox, ...lenient }, context);
  }

  async #changes(context: Context, container: string, base: ContainerBase, scratch: string): Promise<Changes> {
    const lower = new LowerView(await this.#layers.view(chainOf(base)));
    const headers = readTar(this.#pack(context, container, scratch, true), { headersOnly: true });
    return treeChanges(headers, lower, this.#layers.ids);
  }

  #pack(context: Context, container: string, scratch: string, headersOnly: boolean): AsyncIterable<Uint8Array> {
    const { keel, ids } = this.#layers;
    const from = join(this.#layers.containerDirectory(container), 'root');
    return packTree(keel, { from, scratch, headersOnly, ...(ids && { ids }) }, context);
  }
}

function chainOf(base: ContainerBase): readonly Digest[] {
  if (base.kind === 'image') return base.chain;
  throw new KeelsonError(
    'unsupported',
    "the machine's own root can't be a container's without overlayfs: it would have to be copied as a whole",
  );
}
