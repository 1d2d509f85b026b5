import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import type { NewLayerImage } from '../image/create-image.ts';
import type { Images } from '../image/images.ts';
import { isHostReference } from '../image/reference.ts';
import type { ContainerBase, ContainerSnapshotter } from '../image/snapshotter.ts';
import type { Platform } from '../image/types.ts';
import type { RootSource } from '../runtime/rootfs.ts';
import type { ContainerImage, ImageAccess } from './parts.ts';
import type { DiffEntry } from './types.ts';

/** What containers of the machine's own root have as their image's id. */
export const hostImageId = 'host';

/** Images and the root file systems made of them, and `host`: the machine's own root under a throw-away overlay. */
export class ImageRoots implements ImageAccess {
  readonly #images: Images;
  readonly #snapshotter: ContainerSnapshotter;

  constructor(images: Images, snapshotter: ContainerSnapshotter) {
    this.#images = images;
    this.#snapshotter = snapshotter;
  }

  async resolve(
    context: Context,
    reference: string,
    options: { platform?: Platform; pull?: 'always' | 'missing' | 'never' },
  ): Promise<ContainerImage> {
    if (isHostReference(reference)) return { id: hostImageId, defaults: { Cmd: ['sh'] } };
    const { id, config } = await this.#images.resolve(context, reference, options);
    return { id, defaults: config.config ?? {} };
  }

  checkThere(imageId: string): void {
    if (imageId !== hostImageId && !this.#images.exists(imageId)) {
      throw new KeelsonError('not-found', `No such image: ${imageId}`);
    }
  }

  async containerRoot(context: Context, container: string, imageId: string): Promise<RootSource> {
    return this.#snapshotter.containerRoot(context, container, this.#base(imageId));
  }

  async previewRoot(container: string, imageId: string): Promise<RootSource> {
    return this.#snapshotter.previewRoot(container, this.#base(imageId));
  }

  async removeContainer(container: string): Promise<void> {
    await this.#snapshotter.removeContainer(container);
  }

  async recover(context: Context): Promise<void> {
    await this.#images.recover(context);
    await this.#snapshotter.sweep();
  }

  async released(imageId: string): Promise<void> {
    if (imageId !== hostImageId) await this.#images.released(imageId);
  }

  async changes(context: Context, container: string, imageId: string): Promise<readonly DiffEntry[]> {
    return this.#snapshotter.changes(context, container, this.#base(imageId));
  }

  async commit(
    context: Context,
    container: string,
    imageId: string,
    image: Omit<NewLayerImage, 'base' | 'layer'>,
  ): Promise<string> {
    if (imageId === hostImageId) {
      throw new KeelsonError(
        'unsupported',
        'a container of the machine’s own root can’t be committed: it has no image to build on',
      );
    }
    const { id: base } = this.#images.find(imageId);
    const layer = this.#snapshotter.changedFiles(context, container, this.#base(imageId));
    return this.#images.create(context, { ...image, base, layer });
  }

  async containerUsage(
    context: Context,
    container: string,
    imageId: string,
  ): Promise<{ written: number; image: number }> {
    const { size: written } = await this.#snapshotter.containerUsage(context, container);
    if (imageId === hostImageId) return { written, image: 0 };
    const { size: image } = await this.#images.inspect(imageId);
    return { written, image };
  }

  #base(imageId: string): ContainerBase {
    return imageId === hostImageId ? { kind: 'host' } : { kind: 'image', chain: this.#images.chainIds(imageId) };
  }
}
