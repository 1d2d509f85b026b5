import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { isKeelsonError } from '../ground/errors.ts';
import { compressionOf, decompress } from './decompress.ts';

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function plain(bytes: Uint8Array, size = 1 << 20): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of decompress(pieces(bytes, size), 'blob')) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const corrupt = (message: RegExp) => (error: unknown) =>
  isKeelsonError(error, 'corrupt') && message.test(error.message) && error.message.startsWith('blob: ');

const noise = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * i * 31) >> (i % 7)));
const skippable = (size: number): Buffer => {
  const frame = Buffer.alloc(8 + size, 0x28);
  frame.writeUInt32LE(0x184d2a53, 0);
  frame.writeUInt32LE(size, 4);
  return frame;
};

describe('decompressing', () => {
  test('tells the format by the first bytes', () => {
    assert.equal(compressionOf(gzipSync('x')), 'gzip');
    assert.equal(compressionOf(zstdCompressSync('x')), 'zstd');
    assert.equal(compressionOf(skippable(1)), 'zstd');
    assert.equal(compressionOf(Buffer.from('BZh9')), 'bzip2');
    assert.equal(compressionOf(Buffer.from('fd377a585a00', 'hex')), 'xz');
    assert.equal(compressionOf(Buffer.from('usr/')), 'none');
    assert.equal(compressionOf(Buffer.alloc(0)), 'none');
  });

  test('plain bytes pass through, none and few as well', async () => {
    for (const bytes of [Buffer.alloc(0), Buffer.from('abc'), noise]) assert.deepEqual(await plain(bytes, 1000), bytes);
  });

  test('several gzip members are one stream, however it is cut', async () => {
    const bytes = Buffer.concat([gzipSync(noise), gzipSync('second')]);
    for (const size of [1, 17, 1 << 20])
      assert.deepEqual(await plain(bytes, size), Buffer.concat([noise, Buffer.from('second')]));
  });

  test('zstd frames of all shapes are one stream, however it is cut', async () => {
    const frames = [
      zstdCompressSync(noise),
      skippable(0),
      zstdCompressSync('second', { params: { 201: 1 } }), // with a checksum
      skippable(1000),
      zstdCompressSync(Buffer.alloc(500_000)), // run-length blocks
      zstdCompressSync(Buffer.alloc(0)),
      zstdCompressSync('end'),
    ];
    const wanted = Buffer.concat([noise, Buffer.from('second'), Buffer.alloc(500_000), Buffer.from('end')]);
    for (const size of [1, 2, 3, 1021, 1 << 20]) assert.deepEqual(await plain(Buffer.concat(frames), size), wanted);
  });

  test('data that is damaged or cut off is corrupt', async () => {
    const [zipped, squeezed] = [gzipSync(noise), zstdCompressSync(noise)];
    await assert.rejects(plain(zipped.subarray(0, -1)), corrupt(/gzip data is damaged/));
    await assert.rejects(plain(squeezed.subarray(0, -1)), corrupt(/zstd data is damaged: it is cut off/));
    await assert.rejects(
      plain(Buffer.concat([squeezed, Buffer.from('rubbish')])),
      corrupt(/begins with something else/),
    );
    const flipped = Buffer.from(zipped);
    flipped[1000] = (flipped[1000] as number) ^ 0xff;
    await assert.rejects(plain(flipped), corrupt(/gzip data is damaged/));
  });

  test("the source's own failure comes through", async () => {
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield gzipSync(noise).subarray(0, 1000);
      throw new RangeError('the source broke');
    }
    await assert.rejects(async () => {
      for await (const _ of decompress(failing(), 'blob'));
    }, /the source broke/);
  });

  test('who stops early closes the source', async () => {
    let closed = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield gzipSync(noise);
      } finally {
        closed = true;
      }
    }
    for await (const _ of decompress(source(), 'blob')) break;
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(closed);
  });
});
