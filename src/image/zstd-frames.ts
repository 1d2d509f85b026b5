import { KeelsonError } from '../ground/errors.ts';

/** Bytes of each field that has to be looked at (RFC 8878, 3.1). */
const fieldBytes = { magic: 4, skippableSize: 4, descriptor: 1, blockHeader: 3 } as const;

/**
 * Cuts a zstd stream so that no piece reaches from one frame into the next: Node's decompressor takes the end of a frame for the end of all
 * when more follows in the same piece. Tools that make layers seekable write a frame a file, and skippable ones between them. `what`
 * begins messages. Throws `corrupt` where there is no frame, or the last one is cut off.
 */
export async function* zstdFrames(source: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<Uint8Array> {
  const finder = new FrameFinder(what);
  for await (const chunk of source) yield* finder.cut(chunk);
  finder.end();
}

class FrameFinder {
  readonly #what: string;
  #next: keyof typeof fieldBytes = 'magic';
  /** What is there of the next field: chunks may be cut anywhere. */
  #field: number[] = [];
  /** Bytes before the next field. */
  #skip = 0;
  #hasChecksum = false;

  constructor(what: string) {
    this.#what = what;
  }

  *cut(chunk: Uint8Array): Generator<Uint8Array> {
    let from = 0;
    for (let at = 0; at < chunk.length; ) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, chunk.length - at);
        this.#skip -= step;
        at += step;
      } else {
        this.#field.push(chunk[at++] as number);
        if (this.#field.length === fieldBytes[this.#next]) this.#take();
      }
      if (this.#betweenFrames() && at > from) {
        yield chunk.subarray(from, at);
        from = at;
      }
    }
    if (from < chunk.length) yield chunk.subarray(from);
  }

  end(): void {
    if (!this.#betweenFrames()) throw this.#bad('it is cut off');
  }

  #betweenFrames(): boolean {
    return this.#next === 'magic' && this.#skip === 0 && this.#field.length === 0;
  }

  /** A field is whole: it says what comes next. */
  #take(): void {
    const value = Buffer.from(this.#field).readUIntLE(0, this.#field.length);
    this.#field = [];
    switch (this.#next) {
      case 'magic':
        if (value === 0xfd2fb528) this.#next = 'descriptor';
        else if (value >>> 4 === 0x184d2a5) this.#next = 'skippableSize';
        else throw this.#bad('a frame begins with something else than its magic number');
        return;
      case 'skippableSize':
        this.#next = 'magic';
        this.#skip = value;
        return;
      case 'descriptor': {
        const single = (value >> 5) & 1;
        const dictionary = [0, 1, 2, 4][value & 3] as number;
        const contentSize = [single, 2, 4, 8][value >> 6] as number;
        this.#hasChecksum = (value & 4) !== 0;
        this.#next = 'blockHeader';
        this.#skip = 1 - single + dictionary + contentSize;
        return;
      }
      case 'blockHeader': {
        const last = (value & 1) === 1;
        const runLength = ((value >> 1) & 3) === 1;
        this.#skip = runLength ? 1 : value >> 3;
        if (last) this.#next = 'magic';
        if (last && this.#hasChecksum) this.#skip += 4;
      }
    }
  }

  #bad(text: string): KeelsonError {
    return new KeelsonError('corrupt', `${this.#what}: its zstd data is damaged: ${text}`);
  }
}
