import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { Context } from '../../src/ground/context.ts';
import { KeelsonError } from '../../src/ground/errors.ts';
import { parsePlatform } from '../../src/image/platform.ts';
import { mediaTypes } from '../../src/spec/media-types.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { openImages, type TestImages } from '../support/images.ts';
import { pushRaw, type RawImage, rawImage, sha256, tarOf } from '../support/raw-image.ts';
import { seeded, seedImages, startRegistry, type TestRegistry } from '../support/registry.ts';

let registry: TestRegistry;

before(async () => {
  registry = await startRegistry();
  await seedImages(registry);
});

after(async () => registry.stop());

const at = (name: string): string => `${registry.host}/${name}`;

async function refused(work: Promise<unknown>): Promise<KeelsonError> {
  const error: unknown = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  assert.ok(error instanceof KeelsonError, `should have been refused: ${String(error)}`);
  return error;
}

const nothing = { blobs: 0, unfinished: 0, layers: 0 };

describe('pulling', () => {
  test('every kind of image that other tools push becomes an image here', async () => {
    await using all = await openImages();
    const { images, context } = all;
    for (const name of Object.values(seeded)) {
      const { id, digest, upToDate } = await images.pull(context, at(name));
      assert.equal(upToDate, false);
      const details = await images.inspect(id);
      assert.ok(details.tags.includes(at(name)));
      assert.ok(details.digests.includes(`${at(name).split(/:[^:/]*$/)[0]}@${digest}`));
      assert.ok(details.size > 1_000_000);
      for (const chain of images.chainIds(id)) assert.ok(await all.snapshotter.has(chain));
    }
    // The same files by another compression are the same image.
    const [oci, zstd, plain] = [seeded.oci, seeded.zstd, seeded.plain].map((name) => images.find(at(name)).id);
    assert.equal(oci, plain);
    assert.equal(zstd, plain);
    assert.equal(images.find(at(seeded.multi)).id, images.find(at(seeded.list)).id);

    const app = await images.inspect(at(seeded.app));
    assert.deepEqual(app.config.config?.Entrypoint, ['/bin/sh', '-c']);
    assert.equal(app.config.config?.User, 'app');
    assert.deepEqual(Object.keys(app.config.config?.Volumes ?? {}), ['/data']);
    assert.equal(app.layers.length, 4);
    assert.equal((await images.history(at(seeded.app)))[0]?.id, app.id);
  });

  test('is told in the words of docker, and the second time finds everything there', async () => {
    await using proxy = await startFaultProxy(registry.port);
    await using all = await openImages();
    const { images, context, events } = all;
    const name = `${proxy.host}/${seeded.app}`;
    await images.pull(context, name);
    const said = events.map(({ status }) => status);
    assert.equal(said[0], 'Pulling from 127.0.0.1:'.concat(String(proxy.port), '/team/app'));
    for (const status of ['Pulling fs layer', 'Downloading', 'Download complete', 'Pull complete']) {
      assert.ok(said.includes(status), status);
    }
    assert.match(said.at(-2) ?? '', /^Digest: sha256:[0-9a-f]{64}$/);
    assert.equal(said.at(-1), `Status: Downloaded newer image for ${name}`);
    assert.ok(events.filter(({ status }) => status === 'Downloading').every(({ total = 0 }) => total > 0));

    const asked = proxy.seen.length;
    const again = await images.pull(context, name);
    assert.equal(again.upToDate, true);
    assert.equal(events.at(-1)?.status, `Status: Image is up to date for ${name}`);
    assert.deepEqual(
      proxy.seen.slice(asked).filter(({ path }) => path.includes('/blobs/')),
      [],
    );
  });

  test('picks the platform that is asked for, and says so when there is none', async () => {
    await using all = await openImages();
    const { images, context } = all;
    const arm = await images.pull(context, at(seeded.multi), { platform: parsePlatform('linux/arm64') });
    assert.deepEqual((await images.inspect(arm.id)).platform, { os: 'linux', architecture: 'arm64' });
    const v7 = await images.pull(context, at(seeded.multi), { platform: parsePlatform('linux/arm/v7') });
    assert.deepEqual((await images.inspect(v7.id)).platform, { os: 'linux', architecture: 'arm', variant: 'v7' });
    assert.equal(images.find(at(seeded.multi)).id, v7.id, 'the tag means what was pulled last');
    const none = await refused(images.pull(context, at(seeded.multi), { platform: parsePlatform('s390x') }));
    assert.equal(none.code, 'not-found');
    const single = await refused(images.pull(context, at(seeded.busybox), { platform: parsePlatform('arm64') }));
    assert.match(
      single.message,
      /its platform \(linux\/amd64\) does not match the specified platform \(linux\/arm64\)/,
    );
  });

  test('resolving pulls what is missing, always, or never', async () => {
    await using all = await openImages();
    const { images, context, events } = all;
    const name = at(seeded.busybox);
    assert.equal((await refused(images.resolve(context, name, { pull: 'never' }))).code, 'not-found');
    const { id } = await images.resolve(context, name);
    events.length = 0;
    assert.equal((await images.resolve(context, name)).id, id);
    assert.equal((await images.resolve(context, id.slice(7, 19))).id, id);
    assert.deepEqual(events, []);
    await images.resolve(context, name, { pull: 'always' });
    assert.ok(events.length > 0);
    const multi = await images.resolve(context, at(seeded.multi));
    const arm = await images.resolve(context, at(seeded.multi), { platform: parsePlatform('arm64') });
    assert.notEqual(arm.id, multi.id);
  });

  test('the same layer twice in an image is fetched once', async () => {
    const image = await rawImage({ 'etc/twice': 'x' });
    image.manifest.layers.push({ ...(image.manifest.layers[0] as RawImage['manifest']['layers'][0]) });
    image.config.rootfs.diff_ids.push(image.config.rootfs.diff_ids[0] ?? '');
    await pushRaw(registry.port, 'odd', 'twice', image);
    await using proxy = await startFaultProxy(registry.port);
    await using all = await openImages();
    const { id } = await all.images.pull(all.context, `${proxy.host}/odd:twice`);
    assert.equal(all.images.chainIds(id).length, 2);
    const digest = image.manifest.layers[0]?.digest ?? '';
    assert.equal(proxy.seen.filter(({ path }) => path.endsWith(digest)).length, 1);
  });

  test('an image without layers is an image', async () => {
    const image = await rawImage({});
    image.manifest.layers = [];
    image.config.rootfs.diff_ids = [];
    await pushRaw(registry.port, 'odd', 'empty', image);
    await using all = await openImages();
    const { id } = await all.images.pull(all.context, at('odd:empty'));
    assert.equal((await all.images.inspect(id)).size, 0);
  });

  test('a layer that may not be distributed comes from where its URL says, over HTTPS only', async () => {
    const image = await rawImage({ 'etc/foreign': 'y' });
    const [layer] = image.manifest.layers;
    assert.ok(layer);
    Object.assign(layer, { mediaType: mediaTypes.dockerForeignLayerGzip, urls: ['http://192.0.2.1/layer'] });
    await pushRaw(registry.port, 'odd', 'foreign', image);
    await using all = await openImages();
    await all.images.pull(all.context, at('odd:foreign')); // the registry has it all the same
    await using proxy = await startFaultProxy(registry.port);
    proxy.fault = ({ path }) => (path.endsWith(layer.digest) ? { status: 404 } : undefined);
    await using other = await openImages();
    assert.equal((await refused(other.images.pull(other.context, `${proxy.host}/odd:foreign`))).code, 'not-found');
  });

  test('attestations in an index are passed over', async () => {
    const image = await rawImage({ 'etc/attested': 'z' });
    const { digest } = await pushRaw(registry.port, 'odd', 'plain', image);
    const unknown = { os: 'unknown', architecture: 'unknown' };
    const index = {
      ...{ schemaVersion: 2, mediaType: mediaTypes.ociIndex },
      manifests: [
        { mediaType: mediaTypes.ociManifest, digest, size: 1, platform: unknown },
        { mediaType: mediaTypes.ociManifest, digest, size: 0, platform: { os: 'linux', architecture: 'amd64' } },
      ],
    };
    const bytes = await fetch(`http://${registry.host}/v2/odd/manifests/plain`, {
      headers: { accept: mediaTypes.ociManifest },
    });
    Object.assign(index.manifests[1] ?? {}, { size: (await bytes.arrayBuffer()).byteLength });
    const body = JSON.stringify(index);
    const headers = { 'content-type': mediaTypes.ociIndex };
    const put = await fetch(`http://${registry.host}/v2/odd/manifests/attested`, { method: 'PUT', body, headers });
    assert.equal(put.status, 201);
    await using all = await openImages();
    await all.images.pull(all.context, at('odd:attested'), { platform: parsePlatform('amd64') });
  });
});

describe('an image that is wrong', () => {
  async function isRefused(name: string, code: string, message: RegExp): Promise<void> {
    await using all = await openImages();
    const error = await refused(all.images.pull(all.context, at(name)));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    assert.deepEqual(all.images.list(), []);
    assert.equal((await all.left()).layers, 0);
    await all.images.collect();
    assert.deepEqual(await all.left(), nothing);
    await all.images.pull(all.context, at(seeded.busybox));
  }

  test('in the count of its layers is refused', async () => {
    const image = await rawImage({ a: '1' });
    image.config.rootfs.diff_ids.push(sha256(Buffer.from('more')));
    await pushRaw(registry.port, 'wrong', 'count', image);
    await isRefused('wrong:count', 'corrupt', /the manifest has 1 layers, its config tells of 2/);
  });

  test('in what a layer unpacks to is refused', async () => {
    const image = await rawImage({ a: '2' });
    image.config.rootfs.diff_ids = [sha256(Buffer.from('other'))];
    await pushRaw(registry.port, 'wrong', 'diff', image);
    await isRefused('wrong:diff', 'corrupt', /sha256:[0-9a-f]{64}/);
  });

  test('in a size is refused', async () => {
    for (const [name, change] of [
      ['large', 1],
      ['small', -1],
    ] as const) {
      const image = await rawImage({ a: name });
      await pushRaw(registry.port, 'wrong', name, image, (manifest) => {
        const [layer] = (manifest as unknown as RawImage['manifest']).layers;
        if (layer) layer.size += change;
      });
      await isRefused(`wrong:${name}`, 'corrupt', /bytes there, its descriptor says/);
    }
  });

  test('in its compressed stream is refused: cut, damaged, of an unknown kind, no archive at all', async () => {
    const tar = await tarOf({ 'a/file': 'x'.repeat(5000) });
    const damaged = gzipSync(tar);
    damaged[damaged.length - 8] = (damaged.at(-8) ?? 0) ^ 1; // the checksum
    const blobs: [name: string, blob: Buffer, message: RegExp][] = [
      ['cut-gzip', gzipSync(tar).subarray(0, -20), /gzip/],
      ['damaged-gzip', damaged, /gzip/],
      ['cut-zstd', zstdCompressSync(tar).subarray(0, -4), /zstd/],
      ['xz', Buffer.from('fd377a585a000004e6d6b446', 'hex'), /xz/],
      ['text', gzipSync('this is not a tar archive, '.repeat(100)), /tar|archive/],
      ['cut-tar', gzipSync(tar.subarray(0, 2000)), /cut|archive|end/],
    ];
    for (const [name, blob, message] of blobs) {
      const image = await rawImage({});
      image.blobs = [blob];
      image.manifest.layers = [{ mediaType: mediaTypes.ociLayerGzip, digest: sha256(blob), size: blob.length }];
      await pushRaw(registry.port, 'wrong', name, image);
      await using all = await openImages();
      const error = await refused(all.images.pull(all.context, at(`wrong:${name}`)));
      assert.match(error.message, message, name);
      assert.ok(['corrupt', 'unsupported'].includes(error.code), `${name}: ${error.code}`);
      assert.equal((await all.left()).layers, 0);
    }
  });

  test('in its config is refused', async () => {
    const image = await rawImage({ a: '5' });
    Object.assign(image.config, { config: { Env: 'PATH=/bin' } });
    await pushRaw(registry.port, 'wrong', 'config', image);
    await isRefused('wrong:config', 'corrupt', /config\.Env: expected an array/);
  });

  test('in its kind is refused: an artifact, an index in circles', async () => {
    const image = await rawImage({ a: '6' });
    await pushRaw(registry.port, 'wrong', 'artifact', image, (manifest) => {
      Object.assign(manifest['config'] as object, { mediaType: 'application/vnd.cncf.helm.config.v1+json' });
    });
    await isRefused(
      'wrong:artifact',
      'unsupported',
      /is not an image: its config is of type application\/vnd\.cncf\.helm/,
    );

    let { digest } = await pushRaw(registry.port, 'wrong', 'deep', await rawImage({ a: '7' }));
    let size = (
      await (
        await fetch(`http://${registry.host}/v2/wrong/manifests/${digest}`, {
          headers: { accept: mediaTypes.ociManifest },
        })
      ).arrayBuffer()
    ).byteLength;
    let mediaType: string = mediaTypes.ociManifest;
    for (let depth = 0; depth < 6; depth++) {
      const platform = { os: 'linux', architecture: 'amd64' };
      const body = Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: mediaTypes.ociIndex,
          manifests: [{ mediaType, digest, size, platform }],
        }),
      );
      digest = sha256(body);
      size = body.length;
      mediaType = mediaTypes.ociIndex;
      await fetch(`http://${registry.host}/v2/wrong/manifests/deep`, {
        method: 'PUT',
        body,
        headers: { 'content-type': mediaType },
      });
    }
    await isRefused('wrong:deep', 'corrupt', /indexes lie more than 3 deep/);
  });
});

describe('a pull that is cut short', () => {
  test('by the caller leaves no layer, and the next one goes on', async () => {
    await using proxy = await startFaultProxy(registry.port);
    await using all = await openImages();
    const big = await rawImage({ a: 'big' });
    const blob = Buffer.alloc(3_000_000, 'keelson ');
    const tar = await tarOf({ big: blob.map((_, i) => (i * 7919) & 0xff) });
    const layer = gzipSync(tar, { level: 0 });
    big.blobs.push(layer);
    big.manifest.layers.push({ mediaType: mediaTypes.ociLayerGzip, digest: sha256(layer), size: layer.length });
    big.config.rootfs.diff_ids.push(sha256(tar));
    await pushRaw(registry.port, 'cut', 'big', big);
    proxy.fault = ({ path, nth }) =>
      path.endsWith(sha256(layer)) && nth === 1 ? { stallAfter: 2_000_000 } : undefined;
    const context = new Context({ signal: AbortSignal.timeout(400) });
    assert.equal((await refused(all.images.pull(context, `${proxy.host}/cut:big`))).code, 'timeout');
    assert.deepEqual(all.images.list(), []);
    const left = await all.left();
    assert.equal(left.layers, 0);
    assert.equal(left.unfinished, 1);
    await all.images.pull(all.context, `${proxy.host}/cut:big`);
    const ranges = proxy.seen.filter(({ path }) => path.endsWith(sha256(layer))).map(({ headers }) => headers.range);
    assert.deepEqual(ranges, [undefined, 'bytes=2000000-']);
    assert.equal((await all.left()).unfinished, 0);
  });

  test('by SIGKILL leaves nothing that the next command does not put in order', async () => {
    const root = await mkdtemp(join(tmpdir(), 'keelson-killed-'));
    try {
      await using proxy = await startFaultProxy(registry.port);
      let stalled = (): void => {};
      const reached = new Promise<void>((resolve) => {
        stalled = resolve;
      });
      // The last layer hangs while the others are unpacked.
      const top = (
        await openImages().then(async (all) => {
          const { layers } = await all.images
            .pull(all.context, at(seeded.app))
            .then(async ({ id }) => all.images.inspect(id));
          await all[Symbol.asyncDispose]();
          return layers;
        })
      ).at(-1);
      proxy.fault = ({ path }) => {
        if (!path.endsWith(top?.digest ?? 'none')) return undefined;
        stalled();
        return { stallAfter: 10 };
      };
      const child = await pullInChild(root, `${proxy.host}/${seeded.app}`);
      await reached;
      await new Promise((resolve) => setTimeout(resolve, 1000));
      child.kill('SIGKILL');
      await once(child, 'close');
      await using all = await openImages({ root });
      assert.ok((await all.left()).layers > 0, 'it was killed in the midst of it');
      await all.images.recover(all.context);
      assert.equal((await all.left()).layers, 0);
      assert.deepEqual(all.db.all('SELECT key FROM leases UNION ALL SELECT key FROM content_holds'), []);
      proxy.fault = () => undefined;
      await all.images.pull(all.context, `${proxy.host}/${seeded.app}`);
      await all.images.remove(all.context, `${proxy.host}/${seeded.app}`);
      assert.deepEqual(await all.left(), nothing);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });
});

describe('several at once', () => {
  test('processes that pull the same image share the work', async () => {
    const root = await mkdtemp(join(tmpdir(), 'keelson-shared-'));
    try {
      await using proxy = await startFaultProxy(registry.port);
      const children = await Promise.all([1, 2, 3].map(async () => pullInChild(root, `${proxy.host}/${seeded.app}`)));
      for (const [code] of await Promise.all(children.map(async (child) => once(child, 'close'))))
        assert.equal(code, 0);
      const blobs = proxy.seen.filter(({ path }) => path.includes('/blobs/')).map(({ path }) => path);
      assert.equal(blobs.length, new Set(blobs).size, 'each blob was fetched once');
      await using all = await openImages({ root });
      assert.equal(all.images.list().length, 1);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });

  test('pulls and removals at the same time never take a layer from an image', async () => {
    await using one = await openImages();
    await using other = await openImages({ root: one.root });
    const names = [seeded.busybox, seeded.app, seeded.multi].map(at);
    const end = Date.now() + 3000;
    let pulls = 0;
    const puller = async (all: TestImages, name: string): Promise<void> => {
      while (Date.now() < end) {
        const { id } = await all.images.pull(new Context(), name);
        pulls++;
        // Whoever holds the image's row has all its layers and blobs.
        const seen = all.db.immediate(() => (all.images.exists(id) ? all.images.chainIds(id) : []));
        const there = await Promise.all(seen.map(async (chain) => all.snapshotter.has(chain)));
        if (all.images.exists(id)) assert.ok(there.every(Boolean), `${name} lost a layer`);
      }
    };
    const remover = async (all: TestImages): Promise<void> => {
      while (Date.now() < end) {
        for (const name of names) {
          await all.images.remove(new Context(), name).catch((error: unknown) => {
            assert.ok(error instanceof KeelsonError && error.code === 'not-found', String(error));
          });
        }
        await all.images.collect();
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    await Promise.all([
      ...names.map(async (name, i) => puller(i % 2 ? one : other, name)),
      remover(one),
      remover(other),
    ]);
    assert.ok(pulls > 5);
    for (const name of names) await one.images.remove(new Context(), name).catch(() => {});
    await one.images.collect();
    assert.deepEqual(await one.left(), nothing);
  });
});

/** A process that pulls and ends. */
async function pullInChild(root: string, name: string): Promise<ReturnType<typeof spawn>> {
  const script = `
    import { openImages } from ${JSON.stringify(join(import.meta.dirname, '../support/images.ts'))};
    const all = await openImages({ root: ${JSON.stringify(root)} });
    await all.images.pull(all.context, ${JSON.stringify(name)});
    await all[Symbol.asyncDispose]();`;
  return spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
}
