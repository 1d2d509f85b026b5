import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Context } from '../../src/ground/context.ts';
import { packTree, type PackOptions } from '../../src/image/pack.ts';
import type { TarEntry } from '../../src/image/tar-entry.ts';
import { readTar } from '../../src/image/tar-read.ts';
import { Keel } from '../../src/kernel/keel.ts';
import { archive, files, names, refused, treeOf, Yard } from '../support/archive.ts';

describe('packing', () => {
  let keel: Keel;
  before(() => {
    keel = Keel.spawn();
  });
  after(() => keel.close());

  const pack = async (yard: Yard, options: Partial<PackOptions> = {}): Promise<Buffer> => {
    const chunks: Buffer[] = [];
    const all = { from: yard.root, scratch: yard.scratch, ...options };
    for await (const chunk of packTree(keel, all, new Context())) chunks.push(chunk);
    return Buffer.concat(chunks);
  };
  const entries = async (yard: Yard, options: Partial<PackOptions> = {}): Promise<TarEntry[]> => {
    const found: TarEntry[] = [];
    const source = packTree(keel, { from: yard.root, scratch: yard.scratch, ...options }, new Context());
    for await (const { entry } of readTar(source, { headersOnly: options.headersOnly ?? false })) found.push(entry);
    return found;
  };
  const paths = async (yard: Yard, options: Partial<PackOptions> = {}): Promise<string[]> =>
    (await entries(yard, options)).map((e) => e.path);

  test('a tree comes out of unpacking as it was, and of packing again with the same bytes', async () => {
    using yard = new Yard();
    const mtime = 1_234_567_890_123_456_789n;
    await yard.unpack(
      keel,
      archive(
        { path: 'd/', mode: 0o1777, uid: 7, gid: 8, mtime },
        { path: 'd/f', content: 'hello', mode: 0o640, uid: 3_000_000_000, gid: 9, mtime },
        { path: 'd/setuid', mode: 0o6755, uid: 10, gid: 11, mtime: -1_500_000_000n },
        { path: 'd/hard', type: 'hardlink', link: 'd/f' },
        { path: 'd/soft', type: 'symlink', link: '../'.repeat(100), uid: 12, mtime: -250_000_000n },
        { path: 'd/fifo', type: 'fifo', mode: 0o600 },
        { path: 'd/null', type: 'char', major: 1, minor: 3 },
        { path: 'ä/€', content: Buffer.alloc(3_000_001, 7) },
        { path: `${'long/'.repeat(100)}x`, content: 'x', xattrs: { 'user.b': 'b\n', 'user.a': '' } },
      ),
      { whiteouts: 'files' },
    );
    const packed = await pack(yard);
    using other = new Yard();
    await other.unpack(keel, packed, { whiteouts: 'files' });
    const { '.': _root, ...wanted } = treeOf(yard.root, { xattrs: true });
    const { '.': _other, ...found } = treeOf(other.root, { xattrs: true });
    assert.deepEqual(found, wanted);
    assert.ok((await pack(other)).equals(packed));
    assert.equal(packed.length % 512, 0);
    const listed = execFileSync('tar', ['--quoting-style=literal', '-tf', '-'], { input: packed, encoding: 'utf8' });
    assert.equal(listed.trim().split('\n').length, names(found).length);
  });

  test('is in order, whiteouts first, each directory before what is in it', async () => {
    using yard = new Yard();
    await yard.unpack(keel, archive(...files('b/z', 'b/.wh.y', 'a/x/1', 'a/.b', 'a/y', '.c', 'Z')), {
      whiteouts: 'files',
    });
    assert.deepEqual(await paths(yard), ['.c', 'Z', 'a/', 'b/', 'a/.b', 'a/x/', 'a/y', 'a/x/1', 'b/.wh.y', 'b/z']);
  });

  test('a single file or directory, under another name', async () => {
    using yard = new Yard();
    await yard.unpack(keel, archive(...files('a/b/c', 'a/b/d', 'f')), { whiteouts: 'files' });
    assert.deepEqual(await paths(yard, { path: 'a/b', name: 'new' }), ['new/', 'new/c', 'new/d']);
    assert.deepEqual(await paths(yard, { path: '/a/b/c', name: 'x' }), ['x']);
    assert.deepEqual(await paths(yard, { path: 'a/b' }), ['c', 'd']);
    assert.deepEqual(await paths(yard, { name: '.' }), ['./', './a/', './f', './a/b/', './a/b/c', './a/b/d']);
    await refused(paths(yard, { path: 'none', name: 'x' }), 'not-found', /none: looking at it: No such file/);
  });

  test('marks of overlayfs become whiteouts', async () => {
    using yard = new Yard();
    await yard.unpack(keel, archive(...files('d/.wh.gone', 'd/new', 'u/x', '.wh.top')), { whiteouts: 'overlay' });
    execFileSync('setfattr', ['-n', 'trusted.overlay.opaque', '-v', 'y', 'd'], { cwd: yard.root });
    execFileSync('setfattr', ['-n', 'user.overlay.opaque', '-v', 'y', 'u'], { cwd: yard.root });
    const found = await entries(yard, { overlay: true });
    assert.deepEqual(
      found.map((e) => e.path),
      ['.wh.top', 'd/', 'u/', 'd/.wh..wh..opq', 'd/.wh.gone', 'd/new', 'u/.wh..wh..opq', 'u/x'],
    );
    assert.ok(found.every((e) => e.type !== 'char' && !e.xattrs));
  });

  test('headers alone tell sizes without data', async () => {
    using yard = new Yard();
    await yard.unpack(keel, archive({ path: 'a', content: Buffer.alloc(5000) }, ...files('b')));
    const found = await entries(yard, { headersOnly: true });
    assert.deepEqual(
      found.map((e) => [e.path, e.size]),
      [
        ['a', 5000],
        ['b', 1],
      ],
    );
  });

  test('symbolic links are never followed, sockets left out, holes read as zeros', async () => {
    using yard = new Yard();
    writeFileSync(join(yard.outside, 'secret'), 'secret');
    symlinkSync(yard.outside, join(yard.root, 'd'));
    symlinkSync('/etc', join(yard.root, 'etc'));
    const fd = openSync(join(yard.root, 'sparse'), 'w');
    ftruncateSync(fd, 100_000);
    closeSync(fd);
    execFileSync('python3', ['-c', 'import socket; socket.socket(socket.AF_UNIX).bind("s")'], { cwd: yard.root });
    assert.deepEqual(await paths(yard), ['d', 'etc', 'sparse']);
    await refused(pack(yard, { path: 'd/secret', name: 'x' }), 'kernel', /d\/secret: opening: Too many levels/);
    await refused(pack(yard, { path: '../outside/secret', name: 'x' }), 'not-found', /opening: No such file/);
  });

  test('what is mounted in the tree can be left out', async () => {
    using yard = new Yard();
    mkdirSync(join(yard.root, 'm'));
    const place = { kind: 'process', pid: 0 } as const;
    const holder = spawn(
      'unshare',
      [
        '-m',
        'sh',
        '-c',
        `mount -t tmpfs none ${yard.root}/m; touch ${yard.root}/m/f; mount --bind ${yard.root} /mnt; mount --rbind ${yard.root} /mnt; echo; exec sleep 100`,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    try {
      await once(holder.stdout, 'data');
      const from = { ...place, pid: holder.pid as number };
      const path = yard.root.slice(1);
      assert.deepEqual(await paths(yard, { from, path }), ['m/', 'm/f']);
      assert.deepEqual(await paths(yard, { from, path, oneFileSystem: true }), ['m/']);
    } finally {
      holder.kill('SIGKILL');
    }
  });

  test('a file that shrinks or grows meanwhile keeps the length of its header', async () => {
    using yard = new Yard();
    const file = join(yard.root, 'f');
    writeFileSync(file, Buffer.alloc(20 << 20, 1));
    const chunks: Buffer[] = [];
    for await (const chunk of packTree(keel, { from: yard.root, scratch: yard.scratch }, new Context())) {
      if (chunks.length === 0) truncateSync(file, 10 << 20);
      chunks.push(chunk);
    }
    assert.equal(Buffer.concat(chunks).length, 3 * 512 + (20 << 20) + 1024);
  });

  test('stops when nobody reads any more', async () => {
    using yard = new Yard();
    writeFileSync(join(yard.root, 'f'), Buffer.alloc(20 << 20, 1));
    for await (const _chunk of packTree(keel, { from: yard.root, scratch: yard.scratch }, new Context())) break;
  });

  test('a tree that others change meanwhile never leads outside', async () => {
    using yard = new Yard();
    writeFileSync(join(yard.outside, 'secret'), 'secret');
    mkdirSync(join(yard.root, 'd'));
    writeFileSync(join(yard.root, 'd/inside'), '');
    symlinkSync(yard.outside, join(yard.root, 'other'));
    const script = `import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(${JSON.stringify(yard.root)})
print('ready', flush=True)
while True: libc.renameat2(-100, b'd', -100, b'other', 2)`;
    const swapper = spawn('python3', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await once(swapper.stdout, 'data');
      for (let i = 0; i < 50; i++) {
        for (const path of await paths(yard)) assert.doesNotMatch(path, /secret/);
      }
    } finally {
      swapper.kill('SIGKILL');
    }
  });

  test('hard links to the same file, many of them', async () => {
    using yard = new Yard();
    for (let i = 0; i < 400; i++) {
      writeFileSync(join(yard.root, `a${i}`), '');
      linkSync(join(yard.root, `a${i}`), join(yard.root, `b${i}`));
    }
    const found = await entries(yard);
    assert.equal(found.filter((e) => e.type === 'hardlink').length, 400);
    for (const e of found) if (e.type === 'hardlink') assert.equal(e.link, e.path.replace('b', 'a'));
    rmSync(join(yard.root, 'a0'));
  });
});
