import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Context } from '../../src/ground/context.ts';
import { unpackTar } from '../../src/image/unpack.ts';
import { Keel } from '../../src/kernel/keel.ts';
import { archive, entryBytes, files, forge, names, refused, Yard } from '../support/archive.ts';

describe('unpacking', () => {
  let keel: Keel;
  before(() => {
    keel = Keel.spawn();
  });
  after(() => keel.close());

  test('makes every kind of entry with owner, mode and nanosecond times', async () => {
    using yard = new Yard();
    const mtime = 1_234_567_890_123_456_789n;
    const bytes = archive(
      { path: './', mode: 0o751, uid: 5, gid: 6, mtime },
      { path: 'd/', mode: 0o1777, uid: 7, gid: 8, mtime },
      { path: 'd/f', content: 'hello', mode: 0o640, uid: 3_000_000_000, gid: 9, mtime },
      { path: 'd/setuid', mode: 0o6755, uid: 10, gid: 11, mtime: -1_500_000_000n },
      { path: 'd/hard', type: 'hardlink', link: 'd/f', mode: 0o777, uid: 1 },
      { path: 'd/soft', type: 'symlink', link: '../nowhere', uid: 12, gid: 13, mtime },
      { path: 'd/fifo', type: 'fifo', mode: 0o600, mtime },
      { path: 'd/null', type: 'char', major: 1, minor: 3, mode: 0o666, mtime },
      { path: 'd/disk', type: 'block', major: 8, minor: 1, mode: 0o660, gid: 6, mtime },
    );
    const unpacked = await yard.unpack(keel, bytes);
    assert.deepEqual(unpacked, {
      entries: 9,
      fileBytes: 5,
      devicesSkipped: 0,
      xattrsSkipped: 0,
      implied: [],
      opaque: [],
    });
    const file = { type: 'file', mode: 0o640, owner: '3000000000:9', mtime, size: 5, digest: '2cf24dba5fb0a30e' };
    assert.deepEqual(yard.tree(), {
      '.': { type: 'directory', mode: 0o751, owner: '5:6', mtime },
      d: { type: 'directory', mode: 0o1777, owner: '7:8', mtime },
      'd/disk': { type: 'block', mode: 0o660, owner: '0:6', mtime, device: '8:1' },
      'd/f': file,
      'd/fifo': { type: 'fifo', mode: 0o600, owner: '0:0', mtime },
      'd/hard': { ...file, same: 'd/f' },
      'd/null': { type: 'char', mode: 0o666, owner: '0:0', mtime, device: '1:3' },
      'd/setuid': {
        type: 'file',
        mode: 0o6755,
        owner: '10:11',
        mtime: -1_500_000_000n,
        size: 0,
        digest: 'e3b0c44298fc1c14',
      },
      'd/soft': { type: 'symlink', mode: 0o777, owner: '12:13', mtime, link: '../nowhere' },
    });
  });

  test('reports missing parents and makes them 0755, unless an entry tells of them later', async () => {
    using yard = new Yard();
    const { implied } = await yard.unpack(keel, archive(...files('a/b/c', 'x/y'), { path: 'x/', mode: 0o700 }));
    assert.deepEqual(implied.map(String).sort(), ['a', 'a/b']);
    const tree = yard.tree();
    assert.equal(tree['a/b']?.mode, 0o755);
    assert.equal(tree['x']?.mode, 0o700);
  });

  test('goes through a symlinked directory inside the root, and never replaces it for an entry beneath', async () => {
    using yard = new Yard();
    const link = { path: 'lib', type: 'symlink', link: 'usr/lib' } as const;
    await yard.unpack(keel, archive(...files('usr/lib/'), link, ...files('lib/x', 'lib/deep/y')));
    assert.deepEqual(names(yard.tree()), ['lib', 'usr/', 'usr/lib/', 'usr/lib/deep/', 'usr/lib/deep/y', 'usr/lib/x']);
  });

  test('takes an absolute link for one from the root', async () => {
    using yard = new Yard();
    const link = { path: 'lib', type: 'symlink', link: '/usr/lib' } as const;
    await yard.unpack(keel, archive(...files('usr/lib/'), link, ...files('lib/x')));
    assert.equal(readFileSync(join(yard.root, 'usr/lib/x'), 'utf8'), 'lib/x');
  });

  test('the last entry of a name counts', async () => {
    using yard = new Yard();
    await yard.unpack(
      keel,
      archive(
        ...files('f', 'tree/deep/file', 'kept/a', 'was-file'),
        { path: 'f', content: 'second' },
        { path: 'tree', type: 'symlink', link: 'f' },
        ...files('kept/', 'kept/b'),
        { path: 'was-file', type: 'fifo' },
        { path: 'f2', type: 'hardlink', link: 'f' },
        { path: 'f2', type: 'hardlink', link: 'f' },
      ),
    );
    assert.deepEqual(names(yard.tree()), ['f', 'f2', 'kept/', 'kept/a', 'kept/b', 'tree', 'was-file']);
    assert.equal(readFileSync(join(yard.root, 'f'), 'utf8'), 'second');
    assert.equal(yard.tree()['was-file']?.type, 'fifo');
  });

  test('replacing a file leaves its other hard links alone', async () => {
    using yard = new Yard();
    const hard = { path: 'b', type: 'hardlink', link: 'a' } as const;
    await yard.unpack(keel, archive({ path: 'a', content: 'old' }, hard, { path: 'a', content: 'new' }));
    assert.equal(readFileSync(join(yard.root, 'b'), 'utf8'), 'old');
  });

  test('removes deep and wide trees that something else replaces', async () => {
    using yard = new Yard();
    const deep = Array.from({ length: 60 }, (_, i) => `t/${'d/'.repeat(i + 1)}f${i}`);
    const wide = Array.from({ length: 40 }, (_, i) => `t/w${i}/a/b`);
    await yard.unpack(keel, archive(...files(...deep, ...wide), { path: 't', content: 'now a file' }));
    assert.deepEqual(names(yard.tree()), ['t']);
  });

  test('removes a tree that is deeper than there are descriptors', async () => {
    using yard = new Yard();
    const deep = 't/'.repeat(2000);
    await yard.unpack(keel, archive(...files(`${deep}f`), { path: 't', content: 'now a file' }));
    assert.deepEqual(names(yard.tree()), ['t']);
  });

  test('whiteouts become the marks of overlayfs', async () => {
    using yard = new Yard();
    const { opaque } = await yard.unpack(
      keel,
      archive(...files('d/', 'd/.wh.gone', 'd/.wh..wh..opq', 'd/new', '.wh..wh.plnk/1.2', '.wh..wh.aufs')),
    );
    const tree = yard.tree();
    assert.deepEqual(names(tree), ['d/', 'd/gone', 'd/new']);
    assert.deepEqual([tree['d/gone']?.type, tree['d/gone']?.device, tree['d/gone']?.mode], ['char', '0:0', 0]);
    assert.deepEqual(opaque.map(String), ['d']);
  });

  test('what a layer has and whites out itself stays; a directory becomes opaque', async () => {
    for (const order of [files('.wh.f', 'f', '.wh.d', 'd/', 'd/x'), files('f', '.wh.f', 'd/', 'd/x', '.wh.d')]) {
      using yard = new Yard();
      const { opaque } = await yard.unpack(keel, archive(...order));
      assert.deepEqual(names(yard.tree()), ['d/', 'd/x', 'f']);
      assert.equal(yard.tree()['f']?.type, 'file');
      assert.deepEqual(opaque.map(String), ['d']);
    }
  });

  test('an opaque root is reported', async () => {
    using yard = new Yard();
    assert.deepEqual((await yard.unpack(keel, archive(...files('.wh..wh..opq', 'f')))).opaque.map(String), ['']);
  });

  test('whiteouts remove in place', async () => {
    using yard = new Yard();
    await yard.unpack(keel, archive(...files('a/b/c', 'a/d', 'o/x/y', 'o/z', 'keep')), { whiteouts: 'files' });
    await yard.unpack(
      keel,
      archive(...files('a/.wh.b', 'o/.wh..wh..opq', 'o/new', '.wh.never', 'none/.wh.x', 'keep/.wh.x')),
      { whiteouts: 'delete' },
    );
    assert.deepEqual(names(yard.tree()), ['a/', 'a/d', 'keep', 'o/', 'o/new']);
  });

  test('without whiteouts their names are nothing special', async () => {
    using yard = new Yard();
    await yard.unpack(keel, archive(...files('d/.wh.x', 'd/.wh..wh..opq')), { whiteouts: 'files' });
    assert.deepEqual(names(yard.tree()), ['d/', 'd/.wh..wh..opq', 'd/.wh.x']);
  });

  test('marks for userxattr mounts are set at once', async () => {
    using yard = new Yard();
    const { opaque } = await yard.unpack(keel, archive(...files('d/.wh..wh..opq')), { whiteouts: 'overlay-userxattr' });
    assert.deepEqual(opaque.map(String), ['d']);
    const value = execFileSync('getfattr', ['--only-values', '-n', 'user.overlay.opaque', 'd'], { cwd: yard.root });
    assert.equal(value.toString(), 'y');
  });

  test('sets file capabilities and user attributes, and no others', async () => {
    using yard = new Yard();
    const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
    const xattrs = {
      'security.capability': capability,
      'user.note': 'a\nb',
      'trusted.overlay.opaque': 'y',
      'user.overlay.opaque': 'y',
      'security.ima': 'x',
      'trusted.x': 'x',
    };
    const { xattrsSkipped } = await yard.unpack(
      keel,
      archive({ path: 'f', xattrs, uid: 1 }, { path: 'd/', xattrs: { 'trusted.overlay.opaque': 'y', 'user.a': '1' } }),
    );
    assert.equal(xattrsSkipped, 5);
    const dump = (name: string): string[] =>
      execFileSync('getfattr', ['-d', '-m', '-', '-e', 'hex', name], { cwd: yard.root, encoding: 'utf8' })
        .split('\n')
        .filter((line) => line.includes('='));
    assert.deepEqual(dump('f'), [`security.capability=0x${capability.toString('hex')}`, 'user.note=0x610a62']);
    assert.deepEqual(dump('d'), ['user.a=0x31']);
  });

  test('with keepKind a file never takes the place of a directory, nor the reverse', async () => {
    using yard = new Yard();
    await yard.unpack(keel, archive(...files('d/x', 'f')));
    const keepKind = { keepKind: true, whiteouts: 'files' } as const;
    await refused(yard.unpack(keel, archive(...files('d')), keepKind), 'kernel', /d: there already: Is a directory/);
    await refused(yard.unpack(keel, archive(...files('f/')), keepKind), 'kernel', /f: there already: Not a directory/);
    await yard.unpack(keel, archive({ path: 'f', content: 'new' }, ...files('d/')), keepKind);
    assert.equal(readFileSync(join(yard.root, 'f'), 'utf8'), 'new');
  });

  test('entries may belong to who unpacks', async () => {
    using yard = new Yard();
    await yard.unpack(keel, archive({ path: 'f', uid: 7, gid: 7 }), { owners: 'caller' });
    assert.equal(yard.tree()['f']?.owner, '0:0');
  });

  test('an empty archive, one without its end, and one with rubbish after its end are taken', async () => {
    using yard = new Yard();
    await yard.unpack(keel, Buffer.alloc(0));
    await yard.unpack(keel, archive());
    await yard.unpack(keel, entryBytes({ path: 'a' }));
    await yard.unpack(keel, Buffer.concat([archive(...files('b')), Buffer.alloc(5000, 'rubbish')]));
    assert.deepEqual(names(yard.tree()), ['a', 'b']);
  });

  test('global headers count until they are overridden', async () => {
    using yard = new Yard();
    const record = (text: string): Buffer => {
      const line = Buffer.from(`${text.length + 4} ${text}\n`);
      const header = forge(entryBytes({ path: 'g', content: line }).subarray(0, 512), 156, 'g');
      return Buffer.concat([header, line, Buffer.alloc(512 - line.length)]);
    };
    const bytes = archive(
      record('uid=1234'),
      ...files('a'),
      { path: 'b', uid: 3_000_000_000 },
      record('uid=4321'),
      ...files('c'),
    );
    await yard.unpack(keel, bytes);
    const tree = yard.tree();
    assert.deepEqual(
      ['a', 'b', 'c'].map((f) => tree[f]?.owner),
      ['1234:0', '3000000000:0', '4321:0'],
    );
  });

  test('tells what a full disk kept it from', async () => {
    using yard = new Yard();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', yard.root]);
    try {
      await refused(
        yard.unpack(keel, archive({ path: 'big', content: Buffer.alloc(2 << 20) })),
        'exhausted',
        /big: writing: No space left on device/,
      );
    } finally {
      execFileSync('umount', [yard.root]);
    }
  });

  test("the source's failure is what the caller sees", async () => {
    using yard = new Yard();
    async function* failing(): AsyncGenerator<Buffer> {
      yield entryBytes({ path: 'a' });
      throw new RangeError('the source broke');
    }
    const options = { into: yard.root, scratch: yard.scratch, whiteouts: 'files' } as const;
    await assert.rejects(unpackTar(keel, failing(), options, new Context()), /the source broke/);
    assert.deepEqual(readdirSync(yard.scratch), []);
  });

  test('stops when it is canceled, also in the middle of a source that gives nothing more', async () => {
    using yard = new Yard();
    const abort = new AbortController();
    async function* hanging(): AsyncGenerator<Buffer> {
      yield entryBytes({ path: 'a' });
      setTimeout(() => abort.abort(), 50);
      await new Promise((resolve) => abort.signal.addEventListener('abort', () => setTimeout(resolve, 20)));
    }
    const options = { into: yard.root, scratch: yard.scratch, whiteouts: 'files' } as const;
    await refused(unpackTar(keel, hanging(), options, new Context({ signal: abort.signal })), 'canceled', /cancel/);
    assert.deepEqual(readdirSync(yard.scratch), []);
  });

  test('many archives at once do not meet', async () => {
    using yard = new Yard();
    await Promise.all(
      Array.from({ length: 8 }, async (_none, i) => {
        const into = join(yard.top, `many-${i}`);
        mkdirSync(into);
        await yard.unpack(keel, archive(...files(...Array.from({ length: 50 }, (_, n) => `d${i}/f${n}`))), { into });
        assert.equal(readdirSync(join(into, `d${i}`)).length, 50);
      }),
    );
  });

  test('what is in the root already is neither followed nor written through', async () => {
    using yard = new Yard();
    writeFileSync(join(yard.outside, 'secret'), 'secret');
    symlinkSync(join(yard.outside, 'secret'), join(yard.root, 'f'));
    symlinkSync(yard.outside, join(yard.root, 'd'));
    linkSync(join(yard.outside, 'secret'), join(yard.root, 'h'));
    await yard.unpack(keel, archive(...files('f', 'h')), { whiteouts: 'files' });
    assert.ok(lstatSync(join(yard.root, 'f')).isFile());
    assert.equal(readFileSync(join(yard.outside, 'secret'), 'utf8'), 'secret');
    // Inside the root that link leads nowhere.
    await refused(yard.unpack(keel, archive(...files('d/x'))), 'kernel', /d\/x: its parent d is no directory/);
    assert.deepEqual(readdirSync(yard.outside), ['secret']);
  });
});
