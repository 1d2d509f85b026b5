import { randomBytes } from '../ground/crypto.ts';
import type { Context } from '../ground/context.ts';
import type { Digest } from '../spec/digest.ts';
import { digestOf } from './content-store.ts';
import type { ImageBackend } from './image-backend.ts';

/**
 * Keeps blobs and layers from being collected while an operation works with them, before an image needs them. Add a digest first, then look whether it is there:
 * who collects looks at the holds after having taken the digest's lease.
 */
export class Hold implements Disposable {
  readonly #backend: ImageBackend;
  readonly #token = randomBytes(8).toString('hex');

  constructor(backend: ImageBackend) {
    this.#backend = backend;
  }

  add(digests: readonly Digest[]): void {
    this.#backend.tables.hold(this.#token, digests);
  }

  /** Holds the blob and waits until nobody else works with it: who had decided to remove it has done so, then. */
  async claim(context: Context, digest: Digest, doing: string): Promise<Disposable> {
    this.add([digest]);
    return this.#backend.leases.acquire(context, `blob:${digest}`, doing);
  }

  /** Keeps bytes in the store, claimed from before they are there. */
  async put(context: Context, bytes: Uint8Array, doing: string): Promise<Digest> {
    using _claimed = await this.claim(context, digestOf(bytes), doing);
    return await this.#backend.store.put(bytes);
  }

  release(): void {
    const { tables } = this.#backend;
    if (tables.db.isOpen) tables.release(this.#token);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
