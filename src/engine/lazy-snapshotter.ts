import { Context } from '../ground/context.ts';
import { chooseSnapshotter } from '../image/choose-snapshotter.ts';
import type { SnapshotOptions } from '../image/snapshot-layers.ts';
import type { Change, ContainerBase, ContainerSnapshotter, LayerSource, Usage } from '../image/snapshotter.ts';
import type { RootSource } from '../runtime/rootfs.ts';
import type { Digest } from '../spec/digest.ts';

/** The data root's own driver, found out when it is first needed: on a new root the kernel has to be asked. */
export class LazySnapshotter implements ContainerSnapshotter {
  readonly name = 'lazy';
  /** True of none of the drivers. */
  readonly needsParent = false;
  readonly #options: SnapshotOptions;
  #chosen: Promise<ContainerSnapshotter> | undefined;

  constructor(options: SnapshotOptions) {
    this.#options = options;
  }

  async has(chainId: Digest): Promise<boolean> {
    return (await this.#driver()).has(chainId);
  }

  async prepareLayer(context: Context, layer: LayerSource): Promise<{ readonly size: number }> {
    return (await this.#driver()).prepareLayer(context, layer);
  }

  async remove(chainId: Digest): Promise<void> {
    return (await this.#driver()).remove(chainId);
  }

  async list(): Promise<Digest[]> {
    return (await this.#driver()).list();
  }

  async usage(chainId: Digest): Promise<Usage> {
    return (await this.#driver()).usage(chainId);
  }

  async sweep(): Promise<void> {
    return (await this.#driver()).sweep();
  }

  async containerRoot(context: Context, container: string, base: ContainerBase): Promise<RootSource> {
    return (await this.#driver()).containerRoot(context, container, base);
  }

  async previewRoot(container: string, base: ContainerBase): Promise<RootSource> {
    return (await this.#driver()).previewRoot(container, base);
  }

  async removeContainer(container: string): Promise<void> {
    return (await this.#driver()).removeContainer(container);
  }

  async containers(): Promise<string[]> {
    return (await this.#driver()).containers();
  }

  async containerUsage(context: Context, container: string): Promise<Usage> {
    return (await this.#driver()).containerUsage(context, container);
  }

  async changes(context: Context, container: string, base: ContainerBase): Promise<Change[]> {
    return (await this.#driver()).changes(context, container, base);
  }

  async *changedFiles(context: Context, container: string, base: ContainerBase): AsyncGenerator<Uint8Array> {
    yield* (await this.#driver()).changedFiles(context, container, base);
  }

  #driver(): Promise<ContainerSnapshotter> {
    // What was not found out, for whatever reason, is asked again the next time.
    this.#chosen ??= chooseSnapshotter(new Context(), this.#options).catch((error: unknown) => {
      this.#chosen = undefined;
      throw error;
    });
    return this.#chosen;
  }
}
