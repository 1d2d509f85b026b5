import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openEngine, outputOf } from '../support/open-engine.ts';
import { seeded, seedImages, startRegistry, type TestRegistry } from '../support/registry.ts';

let registry: TestRegistry;
const image = (name: keyof typeof seeded): string => `${registry.host}/${seeded[name]}`;

async function bytesOf(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Names in a tar archive. */
function names(tar: Buffer): string[] {
  return execFileSync('tar', ['tf', '-'], { input: tar }).toString().trim().split('\n');
}

function tarOf(folder: string, ...args: string[]): AsyncIterable<Uint8Array> {
  const bytes = execFileSync('tar', ['cf', '-', '-C', folder, ...args]);
  return (async function* () {
    yield bytes;
  })();
}

describe('containers of images', () => {
  before(async () => {
    registry = await startRegistry();
    await seedImages(registry);
  });
  after(async () => registry.stop());

  test('the image is pulled when it is missing, and its defaults count', async () => {
    await using e = await openEngine();
    const { stdout } = await e.output({ image: image('app'), command: [] });
    assert.equal(stdout, 'hello from app\n');
    const told = await e.output({
      image: image('app'),
      command: ['pwd; id -u; cat /etc/changed; ls /etc/deleted /opt/replaced 2>&1'],
    });
    assert.deepEqual(told.stdout.split('\n').slice(0, 3), ['/home/app', '1000', 'two']);
    assert.match(told.stdout, /deleted: No such file/);
    assert.match(told.stdout, /new/);
    assert.doesNotMatch(told.stdout, /deep/);
    const { id } = await e.engine.create(e.context, { image: image('app'), network: 'none' });
    const { config, path, args } = await e.inspect(id);
    assert.deepEqual([path, args], ['/bin/sh', ['-c', 'echo $GREETING from $(id -un)']]);
    assert.deepEqual([config.user, config.workingDir, config.stopSignal], ['app', '/home/app', 'SIGINT']);
    assert.equal(config.labels?.['org.example.kind'], 'app');
  });

  test('pull never, and an image that is not there', async () => {
    await using e = await openEngine();
    const { engine, context } = e;
    await assert.rejects(engine.create(context, { image: image('plain'), pull: 'never' }), { code: 'not-found' });
    await assert.rejects(engine.create(context, { image: `${registry.host}/no/such:1` }), { code: 'not-found' });
    assert.deepEqual(await engine.list(context, { all: true }), []);
  });

  test('events tell of images too, in the names that people write', async () => {
    await using e = await openEngine();
    const { engine, context } = e;
    const since = Date.now();
    await engine.images.pull(context, image('busybox'));
    engine.images.tag(image('busybox'), 'box');
    await engine.images.remove(context, 'box');
    await engine.images.remove(context, image('busybox'));
    const told: string[] = [];
    for await (const { action, attributes } of engine.events(context, { since, until: Date.now() })) {
      told.push(`${action} ${attributes['name'] ?? ''}`.trim());
    }
    const untagged = `untag ${image('busybox')}`;
    assert.deepEqual(told.slice(0, 4), [`pull ${image('busybox')}`, 'tag box:latest', 'untag box:latest', untagged]);
    assert.equal(told.at(-1), 'delete');
  });

  test('a volume of the image is filled from it, with owner and mode, and goes with the container', async () => {
    await using e = await openEngine();
    const { engine, context } = e;
    const { id } = await engine.create(context, {
      image: image('app'),
      network: 'none',
      command: ['cat /data/seed; touch /data/mine'],
      user: '0',
    });
    const [volume] = await engine.volumes.list(context);
    assert.ok(volume && /^[0-9a-f]{64}$/.test(volume.name));
    assert.equal(readFileSync(join(volume.mountpoint, 'seed'), 'utf8'), 'from the image\n');
    const attachment = await engine.start(context, id, { attach: { stdin: false, stdout: true, stderr: true } });
    assert.ok(attachment);
    assert.equal((await outputOf(attachment)).stdout, 'from the image\n');
    await assert.rejects(engine.volumes.remove(context, volume.name), {
      code: 'conflict',
      message: /volume is in use - \[[0-9a-f]{64}\]/,
    });
    await engine.remove(context, id, { volumes: true });
    assert.deepEqual(await engine.volumes.list(context), []);
  });

  test('a named volume is filled once, stays, and is shared', async () => {
    await using e = await openEngine();
    const { engine, context } = e;
    const mounts = [{ type: 'volume', source: 'shared', target: '/data', readOnly: false }] as const;
    const first = await e.output({
      image: image('app'),
      user: '0',
      mounts,
      command: ['echo more > /data/more; ls /data'],
    });
    assert.equal(first.stdout, 'more\nseed\n');
    const second = await e.output({
      image: image('app'),
      user: '0',
      mounts: [{ ...mounts[0], readOnly: true }],
      command: ['ls /data; touch /data/x'],
    });
    assert.match(second.stdout + second.stderr, /^more\nseed\n.*Read-only file system/);
    const donor = await engine.create(context, { image: image('app'), network: 'none', name: 'donor', mounts });
    const third = await e.output({ image: image('busybox'), volumesFrom: ['donor:ro'], command: ['ls', '/data'] });
    assert.equal(third.stdout, 'more\nseed\n');
    await engine.remove(context, donor.id, { volumes: true });
    assert.deepEqual(
      (await engine.volumes.list(context)).map((v) => v.name),
      ['shared'],
      'rm -v keeps named ones',
    );
    assert.deepEqual((await engine.volumes.prune(context)).removed, [], 'prune too');
    assert.deepEqual((await engine.volumes.prune(context, { all: true })).removed, ['shared']);
  });

  test('binds: read-write, read-only, made where missing; tmpfs', async () => {
    await using e = await openEngine();
    const made = join(e.scratch, 'made/by/start');
    writeFileSync(join(e.scratch, 'file'), 'of the host\n');
    const { stdout, stderr } = await e.output({
      image: image('busybox'),
      command: [
        'sh',
        '-c',
        'cat /f; echo x > /made/x; echo y > /f; mount | grep " /t " | cut -d" " -f5,6; df -k /t | tail -1 | awk "{print \\$2}"',
      ],
      mounts: [
        { type: 'bind', source: join(e.scratch, 'file'), target: '/f', readOnly: true },
        { type: 'bind', source: made, target: '/made', readOnly: false, createSource: true },
        { type: 'tmpfs', source: '', target: '/t', readOnly: false, tmpfsSize: 1 << 20 },
      ],
    });
    assert.match(stdout, /^of the host\ntmpfs \(rw,nosuid,nodev,noexec.*\n1024\n$/);
    assert.match(stderr, /Read-only file system/);
    assert.equal(readFileSync(join(made, 'x'), 'utf8'), 'x\n');
  });

  test('cp out of and into a container, running or not', async () => {
    await using e = await openEngine();
    const { engine, context } = e;
    const { id } = await engine.create(context, { image: image('app'), network: 'none', command: ['sleep 1000'] });
    mkdirSync(join(e.scratch, 'tree/sub'), { recursive: true });
    writeFileSync(join(e.scratch, 'tree/sub/file'), 'copied\n', { mode: 0o640 });
    for (const state of ['created', 'running']) {
      if (state === 'running') await engine.start(context, id);
      const file = await engine.copyFrom(context, id, '/etc/changed');
      assert.equal(file.stat.size, 4);
      assert.deepEqual(names(await bytesOf(file.tar)), ['changed']);
      const volume = await engine.copyFrom(context, id, '/data/.');
      assert.deepEqual(names(await bytesOf(volume.tar)).slice(0, 2), ['./', './seed']);
      await assert.rejects(engine.copyFrom(context, id, '/nope'), {
        code: 'not-found',
        message: /Could not find the file \/nope/,
      });
      await assert.rejects(engine.statPath(context, id, '/etc/changed/'), { code: 'not-found' });
      const link = await engine.statPath(context, id, '/bin/ls');
      assert.equal(link.linkTarget, '/bin/busybox');
      await engine.copyTo(context, id, '/data', tarOf(e.scratch, 'tree'));
      await engine.copyTo(context, id, '/', tarOf(e.scratch, '--owner=1000', '--group=1000', 'tree'), {
        copyUidGid: true,
      });
      await assert.rejects(engine.copyTo(context, id, '/nowhere', tarOf(e.scratch, 'tree')), { code: 'not-found' });
      await assert.rejects(
        engine.copyTo(context, id, '/tree', tarOf(join(e.scratch, 'tree/sub'), '--transform=s/file/sub/', 'file'), {
          noOverwriteDirNonDir: true,
        }),
      );
    }
    const x = await engine.exec(context, id, {
      command: ['sh', '-c', 'stat -c "%u %a" /data/tree/sub/file /tree/sub/file; cat /tree/sub/file'],
      user: '0',
    });
    assert.equal((await outputOf(x)).stdout, '0 640\n1000 640\ncopied\n');
  });

  test('diff, commit and export show what was changed', async () => {
    await using e = await openEngine();
    const { engine, context } = e;
    const { id } = await engine.create(context, {
      ...{ image: image('busybox'), network: 'none', env: ['ADDED=1'] },
      command: ['sh', '-c', 'echo new > /added; rm /etc/group; echo >> /etc/passwd'],
    });
    await engine.start(context, id);
    assert.equal(await engine.wait(context, id), 0);
    const changes = (await engine.diff(context, id)).map(({ path, kind }) => `${kind} ${path}`);
    assert.deepEqual(changes, ['added /added', 'modified /etc', 'deleted /etc/group', 'modified /etc/passwd']);
    const imageId = await engine.commit(context, id, {
      ...{ reference: 'mine:1', author: 'me', message: 'changed' },
      changes: ['CMD ["cat", "/added"]', 'LABEL by=test'],
    });
    const details = await engine.images.inspect('mine:1');
    assert.equal(details.id, imageId);
    assert.equal(details.config.config?.Labels?.['by'], 'test');
    assert.ok(details.config.config?.Env?.includes('ADDED=1'));
    assert.equal((await e.output({ image: 'mine:1', command: [] })).stdout, 'new\n');
    const exported = names(await bytesOf(engine.export(context, id)));
    assert.ok(exported.includes('added') && exported.includes('bin/busybox') && !exported.includes('etc/group'));
    await engine.remove(context, id);
    await engine.images.remove(context, 'mine:1');
  });

  test('an image in use is kept for its containers, and goes with the last of them', async () => {
    await using e = await openEngine();
    const { engine, context } = e;
    const { id } = await engine.create(context, {
      image: image('busybox'),
      network: 'none',
      command: ['echo', 'still'],
    });
    await assert.rejects(engine.images.remove(context, image('busybox')), { code: 'conflict' });
    await engine.images.remove(context, image('busybox'), { force: true });
    assert.deepEqual(engine.images.list(), []);
    const attachment = await engine.start(context, id, { attach: { stdin: false, stdout: true, stderr: true } });
    assert.ok(attachment);
    assert.equal((await outputOf(attachment)).stdout, 'still\n');
    await engine.remove(context, id);
    assert.throws(() => statSync(join(e.paths.root, 'snapshots/overlay/containers', id)), { code: 'ENOENT' });
  });
});
