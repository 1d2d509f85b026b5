/** One suite for all drivers. What a container would see is read, and written, through keel's own sandbox. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { Context } from '../../src/ground/context.ts';
import { chainIds } from '../../src/image/chain-ids.ts';
import { chooseSnapshotter, whyNoOverlay } from '../../src/image/choose-snapshotter.ts';
import { packTree } from '../../src/image/pack.ts';
import type { Place } from '../../src/image/sandbox.ts';
import { NativeSnapshotter } from '../../src/image/snapshot-native.ts';
import { OverlaySnapshotter } from '../../src/image/snapshot-overlay.ts';
import type { ContainerBase, LayerSource, Snapshotter } from '../../src/image/snapshotter.ts';
import type { TarEntry } from '../../src/image/tar-entry.ts';
import { readTar } from '../../src/image/tar-read.ts';
import { unpackTar } from '../../src/image/unpack.ts';
import { Keel } from '../../src/kernel/keel.ts';
import type { Digest } from '../../src/spec/digest.ts';
import { archive, type EntrySpec, files, refused } from '../support/archive.ts';

const context = new Context();
const sha256 = (bytes: Uint8Array): Digest => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const pack: readonly ((bytes: Buffer) => Buffer)[] = [gzipSync, zstdCompressSync, (bytes) => bytes];

/** A data root of a test, and what is done with it. */
class Lab implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), 'keelson-snapshots-'));
  readonly keel: Keel;
  readonly snapshotter: Snapshotter;

  constructor(keel: Keel, Driver: new (options: { keel: Keel; root: string }) => Snapshotter) {
    this.keel = keel;
    this.snapshotter = new Driver({ keel, root: this.root });
    for (const name of ['blobs', 'mnt', 'scratch']) mkdirSync(join(this.root, name), { mode: 0o700 });
  }

  /** Blobs of layers, lowest first. */
  layers(...layers: readonly (EntrySpec | Buffer)[][]): LayerSource[] {
    const plain = layers.map((entries) => archive(...entries));
    const chain = chainIds(plain.map(sha256));
    return plain.map((bytes, i) => {
      const blob = join(this.root, 'blobs', `${i}-${chain[i]?.slice(7, 19)}`);
      writeFileSync(blob, (pack[i % pack.length] as (typeof pack)[number])(bytes));
      const parent = chain[i - 1];
      return {
        ...{ chainId: chain[i] as Digest, diffId: sha256(bytes), blob, doing: `unpacking layer ${i}` },
        ...(parent && { parent }),
      };
    });
  }

  /** Unpacks an image, all layers at once where that may be. */
  async image(...layers: readonly (EntrySpec | Buffer)[][]): Promise<ContainerBase> {
    const sources = this.layers(...layers);
    await Promise.all(sources.toReversed().map((layer) => this.snapshotter.prepareLayer(context, layer)));
    return { kind: 'image', chain: sources.map((s) => s.chainId) };
  }

  async place(container: string, base: ContainerBase): Promise<Place> {
    const source = await this.snapshotter.containerRoot(context, container, base);
    return { kind: 'root', source, mountPoint: join(this.root, 'mnt'), lowerdirPlus: true };
  }

  /** What a container sees. */
  async entries(container: string, base: ContainerBase): Promise<Map<string, TarEntry>> {
    const from = await this.place(container, base);
    const found = new Map<string, TarEntry>();
    for await (const { entry } of readTar(
      packTree(this.keel, { from, scratch: join(this.root, 'scratch'), name: '.' }, context),
    )) {
      found.set(entry.path.replace(/^\.\//, '').replace(/\/$/, ''), entry);
    }
    return found;
  }

  async names(container: string, base: ContainerBase): Promise<string[]> {
    const found = await this.entries(container, base);
    return [...found.values()]
      .map(({ path }) => path.replace(/^\.\//, ''))
      .filter((path) => path !== '')
      .sort();
  }

  /** Writes as a container would; whiteouts remove. */
  async write(container: string, base: ContainerBase, ...entries: EntrySpec[]): Promise<void> {
    const into = await this.place(container, base);
    async function* bytes(): AsyncGenerator<Buffer> {
      yield archive(...entries);
    }
    await unpackTar(this.keel, bytes(), { into, scratch: join(this.root, 'scratch'), whiteouts: 'delete' }, context);
  }

  async changes(container: string, base: ContainerBase): Promise<string[]> {
    const found = await this.snapshotter.changes(context, container, base);
    return found.map(({ kind, path }) => `${{ added: 'A', modified: 'C', deleted: 'D' }[kind]} ${path}`);
  }

  temporary(): string[] {
    const directory = join(this.root, 'snapshots', this.snapshotter.name, 'temporary');
    return existsSync(directory) ? readdirSync(directory) : [];
  }

  [Symbol.dispose](): void {
    assert.deepEqual(this.temporary(), []);
    assert.deepEqual(readdirSync(join(this.root, 'scratch')), []);
    rmSync(this.root, { recursive: true, force: true });
  }
}

describe('choosing a snapshotter', () => {
  test('is overlay where overlayfs can be mounted, and stays what it was', async () => {
    await using keel = Keel.spawn();
    const root = mkdtempSync(join(tmpdir(), 'keelson-choose-'));
    try {
      assert.equal(await whyNoOverlay(context, { keel, root }), undefined);
      assert.equal((await chooseSnapshotter(context, { keel, root })).name, 'overlay');
      assert.deepEqual(readdirSync(join(root, 'snapshots')), ['driver']);
      writeFileSync(join(root, 'snapshots/driver'), 'native\n');
      assert.equal((await chooseSnapshotter(context, { keel, root })).name, 'native');
      assert.equal((await chooseSnapshotter(context, { keel, root, driver: 'overlay' })).name, 'overlay');
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  test('is native where the data root lies on a file system that can have no upper directory', async () => {
    await using keel = Keel.spawn();
    const root = mkdtempSync(join(tmpdir(), 'keelson-choose-'));
    // An overlay itself can't be the upper part of one, which is how it is inside of most containers.
    const script = `mkdir u w m; mount -t overlay -o lowerdir=/etc,upperdir=u,workdir=w overlay m`;
    execFileSync('sh', ['-ec', script], { cwd: root });
    try {
      assert.match(
        String(await whyNoOverlay(context, { keel, root: join(root, 'm') })),
        /trying overlayfs: .*fsconfig: EINVAL/,
      );
      assert.equal((await chooseSnapshotter(context, { keel, root: join(root, 'm') })).name, 'native');
    } finally {
      execFileSync('umount', [join(root, 'm')]);
      rmSync(root, { recursive: true });
    }
  });
});

for (const Driver of [OverlaySnapshotter, NativeSnapshotter]) {
  describe(`snapshotter ${Driver.name}`, () => {
    let keel: Keel;
    before(() => {
      keel = Keel.spawn();
    });
    after(() => keel.close());

    test('stacks layers: later files replace, whiteouts remove, opaque directories hide', async () => {
      using lab = new Lab(keel, Driver);
      const base = await lab.image(
        files('a', 'gone', 'd/one', 'd/two', 'o/old/x', 'o/z', 'f', 'dir/inside', 'link-target/', 'w/x'),
        [
          ...files('.wh.gone', 'd/.wh.one', 'o/', 'o/.wh..wh..opq', 'o/new', 'dir', 'none/.wh.never'),
          { path: 'f', content: 'second' },
          { path: 'l', type: 'symlink', link: 'link-target' },
        ],
        files('.wh.w', 'w/', 'w/y', 'gone'),
      );
      const want = ['a', 'd/', 'd/two', 'dir', 'f', 'gone', 'l', 'link-target/', 'none/', 'o/', 'o/new', 'w/', 'w/y'];
      assert.deepEqual(await lab.names('c', base), want);
      assert.equal((await lab.entries('c', base)).get('f')?.size, 6);
    });

    test('directories that a layer only implies look as those below, others as told', async () => {
      using lab = new Lab(keel, Driver);
      const time = 1_111_111_111_000_000_000n;
      const base = await lab.image(
        [
          { path: './', mode: 0o750, uid: 5 },
          { path: 'tmp/', mode: 0o1777, mtime: time },
          { path: 'home/', mode: 0o711, uid: 7, gid: 8 },
        ],
        files('tmp/x', 'home/me/f', 'new/f', 'tmp/sub/g'),
        files('tmp/sub/h', 'home/me/g'),
      );
      const found = await lab.entries('c', base);
      const look = (path: string): unknown[] => [
        found.get(path)?.mode.toString(8),
        found.get(path)?.uid,
        found.get(path)?.gid,
      ];
      assert.deepEqual(look('tmp'), ['1777', 0, 0]);
      assert.equal(found.get('tmp')?.mtime, time);
      assert.deepEqual(look('home'), ['711', 7, 8]);
      assert.deepEqual(look('home/me'), ['755', 0, 0]);
      assert.deepEqual(look('new'), ['755', 0, 0]);
    });

    test('an opaque root hides all layers below', async () => {
      using lab = new Lab(keel, Driver);
      const base = await lab.image(files('old'), files('.wh..wh..opq', 'new'), files('newer'));
      assert.deepEqual(await lab.names('c', base), ['new', 'newer']);
    });

    test('an image without layers is an empty root', async () => {
      using lab = new Lab(keel, Driver);
      const base = await lab.image();
      assert.deepEqual(await lab.names('c', base), []);
      await lab.write('c', base, ...files('f'));
      assert.deepEqual(await lab.names('c', base), ['f']);
    });

    test('has, list, usage and remove', async () => {
      using lab = new Lab(keel, Driver);
      const { snapshotter } = lab;
      const sources = lab.layers([{ path: 'a', content: 'x'.repeat(1000) }, ...files('d/b')], files('c'));
      const [first, second] = sources as [LayerSource, LayerSource];
      assert.equal(await snapshotter.has(first.chainId), false);
      assert.deepEqual(await snapshotter.list(), []);
      await assert.rejects(snapshotter.usage(first.chainId), /not unpacked/);
      const told: number[] = [];
      assert.deepEqual(await snapshotter.prepareLayer(context, { ...first, progress: (n) => told.push(n) }), {
        size: 1003,
      });
      assert.ok((told.at(-1) as number) > 0);
      assert.deepEqual(await snapshotter.prepareLayer(context, first), { size: 1003 });
      assert.deepEqual(await snapshotter.usage(first.chainId), { size: 1003, inodes: 3 });
      await Promise.all([snapshotter.prepareLayer(context, second), snapshotter.prepareLayer(context, second)]);
      assert.deepEqual((await snapshotter.list()).sort(), [first.chainId, second.chainId].sort());
      await snapshotter.remove(second.chainId);
      await snapshotter.remove(second.chainId);
      assert.equal(await snapshotter.has(second.chainId), false);
      const base = { kind: 'image', chain: [first.chainId, second.chainId] } as const;
      await assert.rejects(snapshotter.containerRoot(context, 'c', base), /not unpacked/);
      assert.deepEqual(await snapshotter.containers(), []);
    });

    test('what is damaged, cut off or another layer leaves nothing', async () => {
      using lab = new Lab(keel, Driver);
      const { snapshotter } = lab;
      const [layer] = lab.layers([{ path: 'a', content: Buffer.alloc(300_000, 'abc') }]) as [LayerSource];
      const whole = gzipSync(archive({ path: 'a', content: Buffer.alloc(300_000, 'abc') }));
      const attempt = (bytes: Uint8Array, change: Partial<LayerSource> = {}): Promise<unknown> => {
        writeFileSync(layer.blob, bytes);
        return snapshotter.prepareLayer(context, { ...layer, ...change });
      };
      await refused(
        attempt(whole.subarray(0, -20)),
        'corrupt',
        /^unpacking layer 0: its gzip data is damaged: unexpected end/,
      );
      const flipped = Buffer.from(whole);
      flipped[200] = (flipped[200] as number) ^ 1;
      await refused(attempt(flipped), 'corrupt', /^unpacking layer 0: /);
      await refused(
        attempt(gzipSync(Buffer.alloc(2000, 'x'))),
        'corrupt',
        /^unpacking layer 0: archive: not a tar archive/,
      );
      await refused(
        attempt(gzipSync(archive(...files('b')))),
        'corrupt',
        /its plain bytes have the digest sha256:.* the image's config says/,
      );
      await refused(
        attempt(gzipSync(archive(...files('../b')))),
        'corrupt',
        /^unpacking layer 0: \.\.\/b: the name leaves the root/,
      );
      await refused(attempt(Buffer.from('BZh9...')), 'unsupported', /bzip2/);
      await refused(attempt(whole, { blob: '/nonexistent' }), 'not-found', /ENOENT/);
      assert.deepEqual(await snapshotter.list(), []);
      assert.deepEqual(lab.temporary(), []);
      await attempt(whole);
    });

    test('several gzip members and zstd frames are one layer', async () => {
      using lab = new Lab(keel, Driver);
      const bytes = archive(...files('a', 'b'));
      for (const [i, squeeze] of [gzipSync, zstdCompressSync].entries()) {
        const blob = join(lab.root, `blob-${i}`);
        writeFileSync(blob, Buffer.concat([squeeze(bytes.subarray(0, 700)), squeeze(bytes.subarray(700))]));
        const chainId = sha256(Buffer.from([i]));
        await lab.snapshotter.prepareLayer(context, { chainId, diffId: sha256(bytes), blob, doing: 'unpacking' });
        assert.deepEqual(await lab.names(`c${i}`, { kind: 'image', chain: [chainId] }), ['a', 'b']);
      }
    });

    test('a container keeps what it writes until it is removed; others see nothing of it', async () => {
      using lab = new Lab(keel, Driver);
      const base = await lab.image(files('a', 'd/b'));
      await lab.write('one', base, ...files('d/new', '.wh.a'));
      assert.deepEqual(await lab.names('one', base), ['d/', 'd/b', 'd/new']);
      assert.deepEqual(await lab.names('two', base), ['a', 'd/', 'd/b']);
      assert.deepEqual((await lab.snapshotter.containers()).sort(), ['one', 'two']);
      const usage = await lab.snapshotter.containerUsage(context, 'one');
      assert.ok(usage.size >= 5 && usage.inodes >= 2, JSON.stringify(usage));
      await lab.snapshotter.removeContainer('one');
      await lab.snapshotter.removeContainer('one');
      assert.deepEqual(await lab.names('one', base), ['a', 'd/', 'd/b']);
      await assert.rejects(lab.snapshotter.containerRoot(context, '../x', base), /not a container's id/);
    });

    test('changes are told, and make a layer that comes to the same', async () => {
      using lab = new Lab(keel, Driver);
      const base = await lab.image(files('a', 'd/b', 'd/c', 'e/x/y', 'keep/f', 'r/old', 'r/stay'), [
        ...files('late', 'd/from-second', '.wh.a', 'a'),
        { path: 'same', type: 'hardlink', link: 'late' },
      ]);
      assert.deepEqual(await lab.changes('c', base), []);
      await lab.write(
        'c',
        base,
        ...files('d/new', 'd/.wh.b', '.wh.e', 'fresh/deep/f', '.wh.r'),
        ...files('r/', 'r/stay', 'd/.wh.from-second'),
        { path: 'a', content: 'changed' },
        { path: 'another', type: 'hardlink', link: 'd/c' },
      );
      const changes = await lab.changes('c', base);
      assert.deepEqual(
        // Another name of a file is a change of the file itself to overlayfs, which copies it up.
        changes.filter((line) => line !== 'C /d/c'),
        [
          ...[
            'C /a',
            'A /another',
            'C /d',
            'D /d/b',
            'D /d/from-second',
            'A /d/new',
            'D /e',
            'A /fresh',
            'A /fresh/deep',
          ],
          ...['A /fresh/deep/f', 'C /r', 'D /r/old', 'C /r/stay'].filter(
            (l) => l !== 'C /r/stay' || changes.includes(l),
          ),
        ],
      );
      const chunks: Uint8Array[] = [];
      for await (const chunk of lab.snapshotter.changedFiles(context, 'c', base)) chunks.push(chunk);
      const bytes = Buffer.concat(chunks);
      const blob = join(lab.root, 'committed');
      writeFileSync(blob, bytes);
      const { chain } = base as ContainerBase & { kind: 'image' };
      const parent = chain.at(-1) as Digest;
      const chainId = sha256(Buffer.from(`${parent} ${sha256(bytes)}`));
      await lab.snapshotter.prepareLayer(context, {
        chainId,
        parent,
        diffId: sha256(bytes),
        blob,
        doing: 'committing',
      });
      const committed = { kind: 'image', chain: [...chain, chainId] } as const;
      assert.deepEqual(await lab.names('d', committed), await lab.names('c', base));
      assert.deepEqual(await lab.changes('d', committed), []);
    });

    test('empty mount points are no changes', async () => {
      using lab = new Lab(keel, Driver);
      const base = await lab.image([...files('etc/passwd', 'bin/sh'), { path: 'etc/', mode: 0o750 }]);
      const stubs = ['etc/hosts', 'etc/hostname', '.dockerenv', 'dev/console'].map((path) => ({ path, content: '' }));
      await lab.write('c', base, ...stubs, ...files('proc/', 'sys/', 'dev/shm/'));
      assert.deepEqual(await lab.changes('c', base), []);
      const chunks: Uint8Array[] = [];
      for await (const chunk of lab.snapshotter.changedFiles(context, 'c', base)) chunks.push(chunk);
      assert.deepEqual(Buffer.concat(chunks), Buffer.alloc(1024));
      await lab.write('c', base, { path: 'etc/hosts', content: '127.0.0.1' }, { path: 'etc/mine', content: '' });
      assert.deepEqual(await lab.changes('c', base), ['C /etc', 'A /etc/hosts', 'A /etc/mine']);
    });

    test('sweeping removes what dead processes left, and nothing of living ones', async () => {
      using lab = new Lab(keel, Driver);
      const temporary = join(lab.root, 'snapshots', lab.snapshotter.name, 'temporary');
      const dead = join(temporary, '999999999-1-abc');
      const foreign = join(temporary, `${process.pid}-1-abc`);
      for (const directory of [dead, foreign]) mkdirSync(join(directory, 'fs/a/b'), { recursive: true });
      const [layer] = lab.layers([{ path: 'a', content: Buffer.alloc(1000) }]) as [LayerSource];
      execFileSync('mkfifo', [`${layer.blob}.fifo`]);
      const busy = lab.snapshotter.prepareLayer(context, { ...layer, blob: `${layer.blob}.fifo` });
      while (lab.temporary().length < 3) await sleep(5);
      await lab.snapshotter.sweep();
      assert.equal(lab.temporary().length, 1);
      execFileSync('sh', ['-c', `cat ${layer.blob} > ${layer.blob}.fifo`]);
      await busy;
    });

    test('a process killed in the middle of unpacking leaves only what a sweep removes', async () => {
      using lab = new Lab(keel, Driver);
      const [layer] = lab.layers([{ path: 'a', content: Buffer.alloc(3_000_000) }, ...files('b')]) as [LayerSource];
      execFileSync('mkfifo', [`${layer.blob}.fifo`]);
      const script = `
        import { Context } from '${import.meta.dirname}/../../src/ground/context.ts';
        import { ${Driver.name} } from '${import.meta.dirname}/../../src/image/${Driver === OverlaySnapshotter ? 'snapshot-overlay' : 'snapshot-native'}.ts';
        import { Keel } from '${import.meta.dirname}/../../src/kernel/keel.ts';
        const snapshotter = new ${Driver.name}({ keel: Keel.spawn(), root: ${JSON.stringify(lab.root)} });
        await snapshotter.prepareLayer(new Context(), ${JSON.stringify({ ...layer, blob: `${layer.blob}.fifo` })});`;
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' });
      const exited = once(child, 'exit');
      const plain = archive({ path: 'a', content: Buffer.alloc(3_000_000) }, ...files('b'));
      const feeder = spawn('sh', ['-c', `(cat; sleep 100) > ${layer.blob}.fifo`], {
        stdio: ['pipe', 'inherit', 'inherit'],
      });
      feeder.stdin.end(plain.subarray(0, 2_000_000));
      const fs = (): string[] =>
        lab.temporary().map((name) => join(lab.root, 'snapshots', lab.snapshotter.name, 'temporary', name, 'fs'));
      while (!fs().some((path) => existsSync(join(path, 'a')))) await sleep(10);
      child.kill('SIGKILL');
      await exited;
      feeder.kill('SIGKILL');
      assert.equal(lab.temporary().length, 1);
      assert.deepEqual(await lab.snapshotter.list(), []);
      await lab.snapshotter.sweep();
      assert.deepEqual(lab.temporary(), []);
      await lab.snapshotter.prepareLayer(context, layer);
    });

    test('a full disk is told of and leaves nothing', async () => {
      using lab = new Lab(keel, Driver);
      const [layer] = lab.layers([{ path: 'big', content: Buffer.alloc(8 << 20, 'x') }]) as [LayerSource];
      const top = join(lab.root, 'snapshots');
      mkdirSync(top);
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=700', 'tmpfs', top]);
      try {
        await refused(
          lab.snapshotter.prepareLayer(context, layer),
          'exhausted',
          /^unpacking layer 0: unpack: ENOSPC.*big: writing: No space left on device/,
        );
        assert.deepEqual(await lab.snapshotter.list(), []);
        assert.deepEqual(lab.temporary(), []);
      } finally {
        execFileSync('umount', [top]);
      }
    });

    test("the machine's own root", async () => {
      using lab = new Lab(keel, Driver);
      const base = { kind: 'host' } as const;
      if (Driver === NativeSnapshotter) {
        return refused(lab.snapshotter.containerRoot(context, 'c', base), 'unsupported', /without overlayfs/);
      }
      await lab.write('c', base, ...files('etc/keelson-test', 'keelson-test/x'));
      assert.ok(!existsSync('/etc/keelson-test') && !existsSync('/keelson-test'));
      assert.deepEqual(await lab.changes('c', base), [
        'C /etc',
        'A /etc/keelson-test',
        'A /keelson-test',
        'A /keelson-test/x',
      ]);
      return undefined;
    });
  });
}
