import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { KeelsonError } from '../../src/ground/errors.ts';
import { parseReference } from '../../src/image/reference.ts';
import { openImages, type TestImages } from '../support/images.ts';
import { sha256, tarOf } from '../support/raw-image.ts';
import { ImageBuilder, seeded, seedImages, startRegistry, type TestRegistry } from '../support/registry.ts';

const execute = promisify(execFile);
const nothing = { blobs: 0, unfinished: 0, layers: 0 };
let registry: TestRegistry;
let builder: ImageBuilder;
let dir: string;

before(async () => {
  registry = await startRegistry();
  await seedImages(registry);
  builder = await ImageBuilder.open();
  dir = await mkdtemp(join(tmpdir(), 'keelson-archives-'));
});

after(async () => {
  await builder[Symbol.asyncDispose]();
  await registry.stop();
  await rm(dir, { recursive: true, force: true });
});

const at = (name: string): string => `${registry.host}/${name}`;

async function refused(work: Promise<unknown>, what = 'this'): Promise<KeelsonError> {
  const error: unknown = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  assert.ok(error instanceof KeelsonError, `${what} should have been refused: ${String(error)}`);
  return error;
}

async function* chunked(bytes: Uint8Array, size = 10_000): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size);
}

async function save(all: TestImages, names: readonly string[], file: string): Promise<string> {
  const path = join(dir, file);
  await pipeline(all.images.save(all.context, names), createWriteStream(path));
  return path;
}

describe('saving', () => {
  test('writes what skopeo and buildah read, as an OCI layout and as an archive of docker', async () => {
    await using all = await openImages();
    const { id } = await all.images.pull(all.context, at(seeded.app));
    const oci = await all.images.pull(all.context, at(seeded.oci));
    const path = await save(all, [at(seeded.app), at(seeded.oci)], 'saved.tar');

    const inspected = JSON.parse(await builder.skopeo('inspect', `docker-archive:${path}:${at(seeded.app)}`)) as {
      Layers: string[];
      Env: string[];
    };
    assert.equal(inspected.Layers.length, 4);
    assert.ok(inspected.Env.includes('GREETING=hello'));
    const config = await builder.skopeo('inspect', '--config', '--raw', `oci-archive:${path}:oci`);
    assert.equal(sha256(Buffer.from(config)), oci.id);
    const pulled = await builder.buildah('pull', '-q', `docker-archive:${path}:${at(seeded.app)}`);
    const root = await builder.mount(await builder.from(pulled));
    assert.equal(await readFile(join(root, 'etc/changed'), 'utf8'), 'two\n');
    await execute('tar', ['-tf', path]);

    await using other = await openImages();
    const loaded = await other.images.load(other.context, createReadStream(path));
    assert.deepEqual(
      new Map(loaded.map((each) => [each.id, each.names])),
      new Map([
        [id, [at(seeded.app)]],
        [oci.id, [at(seeded.oci)]],
      ]),
    );
    const digests = await Promise.all(
      [all, other].map(async ({ images }) => (await images.inspect(id)).manifestDigest),
    );
    assert.equal(digests[0], digests[1], 'an image keeps its digest on the way');
  });

  test('by repository takes all tags, by id no name, twice the same image once', async () => {
    await using all = await openImages();
    for (const name of [seeded.busybox, seeded.oci]) await all.images.pull(all.context, at(name));
    all.images.tag(at(seeded.oci), at('busybox:again'));
    const { id } = all.images.find(at(seeded.oci));
    await using other = await openImages();
    await other.images.load(other.context, createReadStream(await save(all, [at('busybox')], 'all.tar')));
    const tags = other.images.list().flatMap((image) => image.tags);
    assert.deepEqual(tags.toSorted(), [at('busybox:again'), at('busybox:latest'), at('busybox:oci')]);

    await using third = await openImages();
    const [only] = await third.images.load(
      third.context,
      createReadStream(await save(all, [id.slice(7, 19), id], 'id.tar')),
    );
    assert.deepEqual(only, { id, names: [] });
    assert.equal((await refused(save(all, ['nothing:here'], 'none.tar'))).code, 'not-found');
  });
});

describe('loading', () => {
  async function loaded(bytes: Uint8Array): Promise<{ names: string[]; etc: string }> {
    await using all = await openImages();
    const [image] = await all.images.load(all.context, chunked(bytes));
    assert.ok(image);
    await all.images.remove(all.context, image.id, { force: true });
    assert.deepEqual(await all.left(), nothing, 'all that was taken in belongs to the image');
    return { names: [...image.names], etc: image.id };
  }

  test('takes what skopeo and buildah write, plain, gzip and zstd', async () => {
    const from = `docker://${at(seeded.app)}`;
    const archives: Record<string, string> = {
      'docker-archive': `docker-archive:${join(dir, 'd.tar')}:example.org/app:1`,
      'oci-archive': `oci-archive:${join(dir, 'o.tar')}:example.org/app:1`,
    };
    for (const [kind, to] of Object.entries(archives)) {
      await builder.skopeo('copy', '-q', from, to);
      const bytes = await readFile(to.split(':')[1] ?? '');
      for (const form of [bytes, gzipSync(bytes, { level: 1 }), zstdCompressSync(bytes)]) {
        const { names } = await loaded(form);
        assert.deepEqual(names, ['example.org/app:1'], kind);
      }
    }
    const oci = await builder.skopeo(
      'copy',
      '-q',
      `docker://${at(seeded.multi)}`,
      '--all',
      `oci-archive:${join(dir, 'm.tar')}:multi`,
    );
    assert.equal(oci, '');
    await loaded(await readFile(join(dir, 'm.tar')));
  });

  test('takes archives as docker wrote them for years: a directory a layer, links for layers that are shared', async () => {
    const layer = await tarOf({ 'etc/x': 'x' });
    const config = {
      architecture: 'amd64',
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: [sha256(layer), sha256(layer)] },
    };
    const bytes = await tarOf({
      'aaaa/VERSION': '1.0',
      'aaaa/json': '{}',
      'aaaa/layer.tar': layer,
      'bbbb/layer.tar': { link: '../aaaa/layer.tar' },
      'config.json': JSON.stringify(config),
      repositories: '{"old/app":{"1":"bbbb"}}',
      'manifest.json': JSON.stringify([
        { Config: 'config.json', RepoTags: ['old/app:1'], Layers: ['aaaa/layer.tar', 'bbbb/layer.tar'] },
      ]),
    });
    assert.deepEqual((await loaded(bytes)).names, ['docker.io/old/app:1']);
  });

  test('moves a name from the image that had it', async () => {
    await using all = await openImages();
    const old = await all.images.import(all.context, chunked(await tarOf({ a: '1' })), {
      reference: parseReference('x:1'),
    });
    await using other = await openImages();
    await other.images.import(other.context, chunked(await tarOf({ a: '2' })), { reference: parseReference('x:1') });
    await all.images.load(all.context, createReadStream(await save(other, ['x:1'], 'x.tar')));
    assert.notEqual(all.images.find('x:1').id, old);
    assert.deepEqual(
      all.images.list({ dangling: ['true'] }).map(({ id }) => id),
      [old],
    );
  });

  test('refuses archives that are hostile or damaged, and keeps nothing of them', async () => {
    const layer = await tarOf({ 'etc/x': 'x' });
    const config = JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: [sha256(layer)] },
    });
    const entry = { Config: 'c.json', RepoTags: ['x:1'], Layers: ['l.tar'] };
    const good = { 'c.json': config, 'l.tar': layer, 'manifest.json': JSON.stringify([entry]) };
    const whole = await tarOf(good);
    const manifest = (change: object): object => ({
      ...good,
      'manifest.json': JSON.stringify([{ ...entry, ...change }]),
    });
    const tar = async (files: object): Promise<Buffer> => tarOf(files as Record<string, string>);
    const lie = `blobs/sha256/${'0'.repeat(64)}`;
    const hostile: [name: string, bytes: Buffer, message: RegExp][] = [
      [
        'leads out',
        await tar({ ...good, '../../etc/cron.d/x': 'x' }),
        /"..\/..\/etc\/cron.d\/x" lies outside of the archive/,
      ],
      ['is absolute', await tar({ '/etc/passwd': 'x', ...good }), /"\/etc\/passwd" lies outside/],
      [
        'names a file outside',
        await tar(manifest({ Config: '../../../etc/hostname' })),
        /"..\/..\/..\/etc\/hostname" is missing/,
      ],
      [
        'links in circles',
        await tar({ ...good, a: { link: 'b' }, b: { link: 'a' }, ...manifest({ Layers: ['a'] }) }),
        /"a" is missing/,
      ],
      ['links outside', await tar({ ...manifest({ Layers: ['a'] }), a: { link: '/etc/passwd' } }), /"a" is missing/],
      [
        'lies about a digest',
        await tar({ ...good, [lie]: 'x' }),
        /blobs\/sha256\/0+: sha256:0+: its bytes have the digest/,
      ],
      ['lacks a layer', await tar(manifest({ Layers: ['gone.tar'] })), /"gone.tar" is missing/],
      ['counts wrong', await tar(manifest({ Layers: [] })), /an image has 0 layers, its config tells of 1/],
      ['has another layer than its config', await tar({ ...good, 'l.tar': await tarOf({ 'etc/y': 'y' }) }), /sha256:/],
      ['has no JSON where it should', await tar({ ...good, 'manifest.json': '{' }), /manifest.json: is not JSON/],
      ['has a wrong document', await tar({ ...good, 'manifest.json': '{}' }), /manifest.json: expected an array/],
      [
        'has a name that is none',
        await tar(manifest({ RepoTags: ['Bad Name'] })),
        /must be lowercase|invalid reference/,
      ],
      ['holds no image', await tarOf({ 'a/b': 'x' }), /holds no image/],
      ['is from before', await tarOf({ repositories: '{}' }), /archives of docker before 1.10 are not supported/],
      ['is cut', whole.subarray(0, 2000), /cut off/],
      ['is cut in gzip', gzipSync(whole).subarray(0, -9), /gzip/],
      ['is empty', Buffer.alloc(0), /holds no image/],
      ['is no archive', Buffer.from('hello world, '.repeat(100)), /not a tar archive|malformed/],
      ['is compressed by xz', Buffer.from('fd377a585a000004e6d6b446', 'hex'), /xz/],
    ];
    await using all = await openImages();
    for (const [name, bytes, message] of hostile) {
      const error = await refused(all.images.load(all.context, chunked(bytes)), name);
      assert.match(error.message, message, name);
      assert.ok(['corrupt', 'unsupported', 'invalid-argument'].includes(error.code), `${name}: ${error.code}`);
      assert.deepEqual(all.images.list(), [], name);
      assert.deepEqual(await all.left(), nothing, name);
    }
    await all.images.load(all.context, chunked(whole));
    assert.equal(all.images.list().length, 1);
  });
});

describe('importing', () => {
  test('makes an image of one layer, with changes to its config', async () => {
    await using all = await openImages();
    const tar = await tarOf({ 'etc/imported': 'yes' });
    const changes = [
      'CMD ["sh", "-c", "date"]',
      'ENV A=1 B="two words"',
      'EXPOSE 80 53/udp',
      'LABEL x.y=z',
      'USER app',
      'WORKDIR /srv',
    ];
    for (const form of [tar, gzipSync(tar), zstdCompressSync(tar)]) {
      const reference = parseReference('imported:1');
      const id = await all.images.import(all.context, chunked(form), { reference, changes, message: 'by hand' });
      const { config, layers } = await all.images.inspect('imported:1');
      assert.equal(all.images.find('imported:1').id, id);
      assert.deepEqual(config.rootfs.diff_ids, [sha256(tar)]);
      assert.equal(layers[0]?.digest, sha256(tar));
      assert.deepEqual(config.config?.Cmd, ['sh', '-c', 'date']);
      assert.deepEqual(config.config?.Env, ['A=1', 'B=two words']);
      assert.deepEqual(Object.keys(config.config?.ExposedPorts ?? {}), ['80/tcp', '53/udp']);
      assert.equal(config.history?.[0]?.comment, 'by hand');
    }
  });

  test('of what is no archive leaves nothing', async () => {
    await using all = await openImages();
    const error = await refused(all.images.import(all.context, chunked(Buffer.from('no archive '.repeat(200)))));
    assert.equal(error.code, 'corrupt');
    assert.equal(
      (await refused(all.images.import(all.context, chunked(await tarOf({})), { changes: ['RUN x'] }))).code,
      'invalid-argument',
    );
    assert.deepEqual(await all.left(), nothing);
    assert.deepEqual(all.images.list(), []);
  });
});

describe('making an image of another', () => {
  test('adds a layer and history to the base', async () => {
    await using all = await openImages();
    const base = await all.images.pull(all.context, at(seeded.busybox));
    const id = await all.images.create(all.context, {
      ...{ base: base.id, layer: chunked(await tarOf({ 'etc/new': 'n' })), names: ['docker.io/library/made:1'] },
      ...{ history: { created_by: 'sh', comment: 'test' }, author: 'me', doing: 'committing x' },
      defaults: (was) => ({ ...was, User: 'app' }),
    });
    const made = await all.images.inspect('made:1');
    assert.equal(made.id, id);
    assert.equal(made.layers.length, 2);
    assert.equal(made.config.config?.User, 'app');
    assert.deepEqual(made.config.config?.Cmd, ['sh']);
    assert.equal(made.config.author, 'me');
    const only = await all.images.create(all.context, {
      ...{ base: id, history: { created_by: 'CMD' }, names: [], doing: 'x' },
      defaults: (was) => ({ ...was, Cmd: ['ls'] }),
    });
    assert.deepEqual(all.images.chainIds(only), all.images.chainIds(id));
    assert.equal((await all.images.inspect(only)).config.history?.at(-1)?.empty_layer, true);
  });
});
