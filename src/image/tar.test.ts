import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import type { TarEntry } from './tar-entry.ts';
import { tarEnd, tarHeader } from './tar-header.ts';
import { readTar } from './tar-read.ts';
import { type TarItem, writeTar } from './tar-write.ts';

const plain: TarEntry = { type: 'file', path: 'a', mode: 0o644, uid: 0, gid: 0, size: 0, mtime: 0n };

async function pack(items: readonly TarItem[]): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of writeTar(items)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function unpack(bytes: Buffer, size = 1000): Promise<{ entry: TarEntry; content: Buffer }[]> {
  const found = [];
  for await (const item of readTar(inPieces(bytes, size))) {
    found.push({ entry: item.entry, content: await item.bytes(1 << 20) });
  }
  return found;
}

const deep = `${'directory/'.repeat(20)}file`;
const items: TarItem[] = [
  { entry: { ...plain, type: 'directory', path: 'd/', mode: 0o1777, mtime: 1_700_000_000_123_456_789n } },
  {
    entry: { ...plain, path: 'd/f', size: 5, mode: 0o4755, uid: 3_000_000_000, gid: 5 },
    content: Buffer.from('hello'),
  },
  { entry: { ...plain, path: deep, size: 600 }, content: Buffer.alloc(600, 'x') },
  { entry: { ...plain, path: 'n'.repeat(101) } },
  { entry: { ...plain, path: 'ärger/€', mtime: -1_500_000_000n } },
  { entry: { ...plain, type: 'symlink', path: 'l', link: '../'.repeat(50) } },
  { entry: { ...plain, type: 'hardlink', path: 'h', link: 'd/f' } },
  { entry: { ...plain, type: 'char', path: 'null', major: 1, minor: 3 } },
  { entry: { ...plain, type: 'fifo', path: 'pipe' } },
  {
    entry: {
      ...plain,
      path: 'x',
      xattrs: new Map([
        ['user.b', Buffer.from([0, 10, 61])],
        ['user.a', Buffer.from('1')],
      ]),
    },
  },
];

describe('tar archives', () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'keelson-tar-'));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  test('what is written is read back, however the stream is cut', async () => {
    const bytes = await pack(items);
    for (const size of [1, 511, 512, 513, 1 << 20]) {
      const found = await unpack(bytes, size);
      assert.equal(found.length, items.length);
      found.forEach(({ entry, content }, i) => {
        const item = items[i] as TarItem;
        assert.deepEqual(content, Buffer.from((item.content as Buffer | undefined) ?? []));
        assert.deepEqual(
          { ...entry, xattrs: [...(entry.xattrs ?? [])].sort() },
          {
            ...item.entry,
            xattrs: [...(item.entry.xattrs ?? [])].sort(),
          },
        );
      });
    }
  });

  test('GNU tar reads what is written', async () => {
    const file = join(dir, 'a.tar');
    writeFileSync(file, await pack(items));
    const names = items.map((i) => i.entry.path);
    assert.deepEqual(
      execFileSync('tar', ['--quoting-style=literal', '-tf', file], { encoding: 'utf8' }).trim().split('\n'),
      names,
    );
  });

  for (const format of ['gnu', 'pax', 'ustar', 'v7']) {
    test(`archives of GNU tar in format ${format} are read`, async () => {
      const file = join(dir, 'b.tar');
      const long = format === 'gnu' || format === 'pax' ? 'long-'.repeat(40) : 'short';
      writeFileSync(join(dir, long), 'content');
      execFileSync('tar', [`--format=${format}`, '--mtime=@1700000000', '-cf', file, '-C', dir, long]);
      const bytes = execFileSync('cat', [file]);
      const [found, ...more] = await unpack(bytes);
      assert.equal(more.length, 0);
      assert.equal(found?.entry.path, long);
      assert.equal(found?.entry.mtime, 1_700_000_000_000_000_000n);
      assert.equal(found?.content.toString(), 'content');
    });
  }

  test('content of another length than its header is refused', async () => {
    const entry = { ...plain, size: 3 };
    await assert.rejects(pack([{ entry, content: Buffer.from('four') }]), /more than the 3 bytes/);
    await assert.rejects(pack([{ entry, content: Buffer.from('2!') }]), /fewer than the 3 bytes/);
  });

  test('what is no archive, damaged or cut off is corrupt', async () => {
    const good = await pack([{ entry: { ...plain, size: 700 }, content: Buffer.alloc(700) }]);
    const damaged = Buffer.from(good);
    damaged[3] = 1;
    for (const bytes of [Buffer.alloc(512, 'x'), damaged, good.subarray(0, 300), good.subarray(0, 900)]) {
      await assert.rejects(unpack(bytes), (e) => isKeelsonError(e, 'corrupt'));
    }
  });

  test('a large number of bytes is not read into memory', async () => {
    const bytes = Buffer.concat([tarHeader({ ...plain, size: 2 ** 40 }), Buffer.alloc(512)]);
    await assert.rejects(unpack(bytes), /more than 1048576/);
  });

  test('the end may be missing, and a stream may be empty', async () => {
    assert.equal((await unpack(tarHeader(plain))).length, 1);
    assert.equal((await unpack(Buffer.alloc(0))).length, 0);
    assert.equal((await unpack(Buffer.from(tarEnd))).length, 0);
  });
});
