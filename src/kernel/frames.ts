import { KeelsonError } from '../ground/errors.ts';

const headSize = 12;
/** The largest payload either side accepts. */
export const frameMax: number = 16 << 20;

/** A frame's parts, to be written one after the other. */
export function encodeFrame(channel: number, type: number, payload?: Uint8Array): readonly Uint8Array[] {
  const size = payload?.length ?? 0;
  if (size > frameMax) throw new KeelsonError('exhausted', `a message to keel of ${size} bytes is too large`);
  const head = Buffer.allocUnsafe(headSize);
  head.writeUInt32LE(size, 0);
  head.writeUInt32LE(channel, 4);
  head.writeUInt32LE(type, 8);
  return payload === undefined || size === 0 ? [head] : [head, payload];
}

/** Cuts a stream into frames. Payloads are views into what was pushed where possible: copy what is kept for long. */
export class FrameReader {
  readonly #onFrame: (channel: number, type: number, payload: Buffer) => void;
  #parts: Buffer[] = [];
  #have = 0;

  constructor(onFrame: (channel: number, type: number, payload: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  push(bytes: Buffer): void {
    this.#parts.push(bytes);
    this.#have += bytes.length;
    if (this.#have < this.#wanted()) return;
    let whole = this.#parts.length === 1 ? bytes : Buffer.concat(this.#parts, this.#have);
    while (whole.length >= headSize) {
      const end = headSize + whole.readUInt32LE(0);
      if (whole.length < end) break;
      this.#onFrame(whole.readUInt32LE(4), whole.readUInt32LE(8), whole.subarray(headSize, end));
      whole = whole.subarray(end);
    }
    this.#parts = whole.length > 0 ? [whole] : [];
    this.#have = whole.length;
  }

  /** Bytes until there is something to do: so that a large frame is put together once, not at every piece. */
  #wanted(): number {
    const first = this.#parts[0];
    if (first === undefined || first.length < headSize) return headSize;
    return headSize + first.readUInt32LE(0);
  }
}
