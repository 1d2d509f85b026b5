import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import type { Paths } from '../ground/paths.ts';
import type { Images } from '../image/images.ts';
import { isHostReference } from '../image/reference.ts';
import type { Platform } from '../image/types.ts';
import type { RootSource } from '../runtime/rootfs.ts';
import type { Trash } from '../store/trash.ts';
import type { ContainerImage, ImageAccess } from './parts.ts';
import type { DiffEntry } from './types.ts';
import { diskUsage } from './volumes.ts';

/** What containers of the machine's own root have as their image's id. */
export const hostImageId = 'host';

/** Images and the root file systems made of them, and `host`: the machine's own root under a throw-away overlay. */
export class ImageRoots implements ImageAccess {
  readonly #images: Images;
  readonly #hostRoots: string;
  readonly #trash: Trash;

  constructor(images: Images, trash: Trash, paths: Paths) {
    this.#images = images;
    this.#trash = trash;
    this.#hostRoots = join(paths.root, 'host');
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
    const root = await this.previewRoot(context, container, imageId);
    if (root.kind === 'overlay') {
      for (const directory of [root.upper, root.work]) await mkdir(directory, { recursive: true, mode: 0o755 });
    }
    return root;
  }

  async previewRoot(_context: Context, container: string, imageId: string): Promise<RootSource> {
    if (imageId !== hostImageId) throw new KeelsonError('unsupported', 'only the image host can be run');
    const base = join(this.#hostRoots, container);
    return { kind: 'overlay', lower: ['/'], upper: join(base, 'upper'), work: join(base, 'work') };
  }

  async removeContainer(_context: Context, container: string, _imageId: string): Promise<void> {
    await this.#trash.discard(join(this.#hostRoots, container));
  }

  async changes(_context: Context, _container: string, _imageId: string): Promise<readonly DiffEntry[]> {
    throw new KeelsonError('unsupported', 'no changes');
  }

  async containerUsage(
    _context: Context,
    container: string,
    imageId: string,
  ): Promise<{ written: number; image: number }> {
    const written = await diskUsage(join(this.#hostRoots, container, 'upper'));
    if (imageId === hostImageId) return { written, image: 0 };
    const { size } = await this.#images.inspect(imageId);
    return { written, image: size };
  }
}
