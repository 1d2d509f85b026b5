import { pipeline, Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { KeelsonError, messageOf } from '../ground/errors.ts';
import { zstdFrames } from './zstd-frames.ts';

export type Compression = 'none' | 'gzip' | 'zstd';

/** Output pieces: large ones, as each costs a hop to a thread and back. */
const pieceBytes = 1 << 20;

/** By the first bytes, as media types lie. bzip2 and xz are named only to be refused with a clear message. */
export function compressionOf(head: Uint8Array): Compression | 'bzip2' | 'xz' {
  const begins = (...bytes: number[]): boolean => bytes.every((byte, i) => head[i] === byte);
  if (begins(0x1f, 0x8b)) return 'gzip';
  // A frame, or a skippable one (RFC 8878, 3.1.2), which estargz-like tools put first.
  if (begins(0x28, 0xb5, 0x2f, 0xfd)) return 'zstd';
  if (((head[0] ?? 0) & 0xf0) === 0x50 && head[1] === 0x2a && head[2] === 0x4d && head[3] === 0x18) return 'zstd';
  if (begins(0x42, 0x5a, 0x68)) return 'bzip2';
  if (begins(0xfd, 0x37, 0x7a, 0x58, 0x5a)) return 'xz';
  return 'none';
}

/**
 * The plain bytes of a stream that may be compressed. Decompression runs in threads of Node's pool, so several streams use several cores.
 * Throws `corrupt` for damaged or cut off data, `unsupported` for bzip2 and xz. `what` begins messages: the blob's digest.
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  what: string,
  found?: (compression: Compression) => void,
): AsyncGenerator<Uint8Array> {
  const chunks = source[Symbol.asyncIterator]();
  try {
    const head = await atLeast(chunks, 6);
    const compression = compressionOf(head);
    if (compression === 'bzip2' || compression === 'xz') {
      throw new KeelsonError('unsupported', `${what}: ${compression} compression can't be read; use gzip or zstd`);
    }
    found?.(compression);
    const whole = rejoined(head, chunks);
    if (compression === 'none') yield* whole;
    else yield* inflated(compression === 'zstd' ? zstdFrames(whole, what) : whole, compression, what);
  } finally {
    await chunks.return?.();
  }
}

/** What the source throws, to be told from what the decompressor throws. */
class SourceFailure extends Error {}

async function* inflated(
  source: AsyncIterable<Uint8Array>,
  compression: 'gzip' | 'zstd',
  what: string,
): AsyncGenerator<Uint8Array> {
  const options = { chunkSize: pieceBytes, highWaterMark: 2 * pieceBytes };
  const engine = compression === 'gzip' ? createGunzip(options) : createZstdDecompress(options);
  let failure: Error | undefined;
  pipeline(Readable.from(guarded(source)), engine, (error) => {
    failure = error ?? undefined;
  });
  try {
    yield* engine as AsyncIterable<Buffer>;
  } catch (error) {
    const reason = failure ?? error;
    if (reason instanceof SourceFailure) throw reason.cause;
    throw new KeelsonError('corrupt', `${what}: its ${compression} data is damaged: ${messageOf(reason)}`, {
      cause: reason,
    });
  }
}

async function* guarded(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* source;
  } catch (cause) {
    throw new SourceFailure('reading the source', { cause });
  }
}

async function atLeast(chunks: AsyncIterator<Uint8Array>, bytes: number): Promise<Uint8Array> {
  let head: Uint8Array = new Uint8Array(0);
  while (head.length < bytes) {
    const next = await chunks.next();
    if (next.done) break;
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
  }
  return head;
}

async function* rejoined(head: Uint8Array, chunks: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (head.length > 0) yield head;
  for (let next = await chunks.next(); !next.done; next = await chunks.next()) yield next.value;
}
