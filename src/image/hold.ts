import { randomBytes } from 'node:crypto';
import type { Digest } from '../spec/digest.ts';
import type { ImageTables } from '../store/images.ts';

/**
 * Keeps blobs and layers from being collected while an operation works with them, before an image needs them. Add a digest first, then look whether it is there:
 * who collects looks at the holds after having taken the digest's lease.
 */
export class Hold implements Disposable {
  readonly #tables: ImageTables;
  readonly #token = randomBytes(8).toString('hex');

  constructor(tables: ImageTables) {
    this.#tables = tables;
  }

  add(digests: readonly Digest[]): void {
    this.#tables.hold(this.#token, digests);
  }

  release(): void {
    if (this.#tables.db.isOpen) this.#tables.release(this.#token);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}
