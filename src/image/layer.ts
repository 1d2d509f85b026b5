import { createHash, type Hash } from '../ground/crypto.ts';
import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import type { Keel } from '../kernel/keel.ts';
import type { Digest } from '../spec/digest.ts';
import { type Compression, decompress } from './decompress.ts';
import { type UnpackOptions, type Unpacked, unpackTar } from './unpack.ts';

export interface LayerOptions extends UnpackOptions {
  /** Begins messages: the blob's digest or the archive's name. */
  readonly what: string;
  /** The digest that the plain archive must have, from the image's config. */
  readonly diffId?: Digest;
  /** The most that the plain archive may have; 1 TiB where absent. */
  readonly maxBytes?: number;
}

export interface UnpackedLayer extends Unpacked {
  readonly diffId: Digest;
  /** Of the plain archive. */
  readonly tarBytes: number;
  readonly compression: Compression;
}

/**
 * Unpacks a layer's blob, compressed or not. `corrupt` when it can't be decompressed, isn't an archive or has another digest than
 * `diffId`: the directory then holds rubbish and must be thrown away, as after any failure.
 */
export async function unpackLayer(
  keel: Keel,
  blob: AsyncIterable<Uint8Array>,
  options: LayerOptions,
  context: Context,
): Promise<UnpackedLayer> {
  let compression: Compression = 'none';
  const count = { bytes: 0, hash: createHash('sha256') };
  const plain = decompress(blob, options.what, (found) => {
    compression = found;
  });
  const unpacked = await unpackTar(keel, counted(plain, count, options), options, context);
  const diffId: Digest = `sha256:${count.hash.digest('hex')}`;
  if (options.diffId !== undefined && diffId !== options.diffId) {
    throw new KeelsonError(
      'corrupt',
      `${options.what}: its plain bytes have the digest ${diffId}, the image's config says ${options.diffId}`,
    );
  }
  return { ...unpacked, diffId, tarBytes: count.bytes, compression };
}

async function* counted(
  source: AsyncIterable<Uint8Array>,
  count: { bytes: number; hash: Hash },
  options: LayerOptions,
): AsyncGenerator<Uint8Array> {
  const most = options.maxBytes ?? 2 ** 40;
  for await (const chunk of source) {
    count.bytes += chunk.length;
    if (count.bytes > most) throw new KeelsonError('corrupt', `${options.what}: more than ${most} bytes`);
    count.hash.update(chunk);
    yield chunk;
  }
}
