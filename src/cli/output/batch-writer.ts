import type { Output } from '../output.ts';

const batchBytes = 64 * 1024;

/** Collects lines into large writes, and writes what there is as soon as nothing more is at hand. */
export class BatchWriter {
  readonly #output: Output;
  #parts: Buffer[] = [];
  #bytes = 0;
  #scheduled: NodeJS.Immediate | undefined;
  #last: Promise<void> = Promise.resolve();
  #failure: unknown;

  constructor(output: Output) {
    this.#output = output;
  }

  /** Resolves at once, or when the reader has caught up. */
  async add(text: string): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const part = Buffer.from(text);
    this.#parts.push(part);
    this.#bytes += part.length;
    if (this.#bytes >= batchBytes) await this.flush();
    else this.#scheduled ??= setImmediate(() => void this.flush().catch(() => {}));
  }

  async flush(): Promise<void> {
    clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
    if (this.#bytes > 0) {
      const batch = Buffer.concat(this.#parts);
      this.#parts = [];
      this.#bytes = 0;
      this.#last = this.#last.then(() => this.#output.send(batch));
      this.#last.catch((error: unknown) => {
        this.#failure ??= error;
      });
    }
    await this.#last;
  }
}
