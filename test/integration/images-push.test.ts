import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { KeelsonError } from '../../src/ground/errors.ts';
import { parseReference } from '../../src/image/reference.ts';
import { writeTar } from '../../src/image/tar-write.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { openImages } from '../support/images.ts';
import { tarOf } from '../support/raw-image.ts';
import { basicUser, ImageBuilder, seeded, seedImages, startRegistry, type TestRegistry } from '../support/registry.ts';

let registry: TestRegistry;
let builder: ImageBuilder;
let dir: string;

before(async () => {
  registry = await startRegistry();
  await seedImages(registry);
  builder = await ImageBuilder.open();
  dir = await mkdtemp(join(tmpdir(), 'keelson-push-'));
});

after(async () => {
  await builder[Symbol.asyncDispose]();
  await registry.stop();
  await rm(dir, { recursive: true, force: true });
});

const at = (name: string): string => `${registry.host}/${name}`;

async function refused(work: Promise<unknown>): Promise<KeelsonError> {
  const error: unknown = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  assert.ok(error instanceof KeelsonError, `should have been refused: ${String(error)}`);
  return error;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

describe('pushing', () => {
  test('an image of another registry sends it byte for byte', async () => {
    const target = await startRegistry();
    try {
      await using all = await openImages();
      const { images, context, events } = all;
      for (const name of [seeded.app, seeded.zstd, seeded.plain]) {
        const pulled = await images.pull(context, at(name));
        images.tag(at(name), `${target.host}/copy/${name}`);
        events.length = 0;
        const { digest } = await images.push(context, `${target.host}/copy/${name}`);
        assert.equal(digest, pulled.digest);
        const said = events.map(({ status }) => status);
        assert.equal(said[0], `The push refers to repository [${target.host}/copy/${name.split(':')[0]}]`);
        assert.ok(
          said.some(
            (status) => ['Pushed', 'Layer already exists'].includes(status) || status.startsWith('Mounted from '),
          ),
        );
        assert.match(said.at(-1) ?? '', new RegExp(`^${name.split(':')[1]}: digest: ${digest} size: \\d+$`));
        const seen = JSON.parse(await builder.skopeo('inspect', `docker://${target.host}/copy/${name}`)) as {
          Digest: string;
        };
        assert.equal(seen.Digest, digest);
        assert.ok(
          (await images.inspect(`${target.host}/copy/${name}`)).digests.includes(
            `${target.host}/copy/${name.split(':')[0]}@${digest}`,
          ),
        );
      }
      const again = await images.push(context, `${target.host}/copy/${seeded.app}`);
      assert.ok(again.size > 0);
      assert.ok(events.some(({ status }) => status === 'Layer already exists'));
    } finally {
      await target.stop();
    }
  });

  test('to another repository of the same registry mounts the layers that it has', async () => {
    await using proxy = await startFaultProxy(registry.port);
    await using all = await openImages();
    await all.images.pull(all.context, `${proxy.host}/${seeded.app}`);
    all.images.tag(`${proxy.host}/${seeded.app}`, `${proxy.host}/mounted/app:1`);
    await all.images.push(all.context, `${proxy.host}/mounted/app:1`);
    assert.equal(all.events.filter(({ status }) => status === 'Mounted from team/app').length, 4);
    const uploads = proxy.seen.filter(({ method, path }) => method === 'PUT' && path.includes('/blobs/uploads/'));
    assert.equal(uploads.length, 1, 'the config alone was sent');
  });

  test('an image that was made here compresses its layers, the same way each time', async () => {
    const target = await startRegistry();
    try {
      const tar = await tarOf({ 'etc/made': 'here\n'.repeat(1000) });
      await using all = await openImages();
      const { images, context } = all;
      const reference = parseReference(`${target.host}/made:1`);
      const id = await images.import(context, once(tar), { reference, changes: ['CMD ["/bin/x"]'] });
      const first = await images.push(context, `${target.host}/made:1`);
      images.tag(id, `${target.host}/made:2`);
      const second = await images.push(context, `${target.host}/made:2`);
      assert.equal(second.digest, first.digest);
      const raw = JSON.parse(await builder.skopeo('inspect', '--raw', `docker://${target.host}/made:1`)) as {
        layers: { mediaType: string; size: number }[];
      };
      assert.equal(raw.layers[0]?.mediaType, 'application/vnd.oci.image.layer.v1.tar+gzip');
      assert.ok((raw.layers[0]?.size ?? Infinity) < 1000);
      const pulled = await builder.buildah('pull', '-q', '--tls-verify=false', `docker://${target.host}/made:1`);
      assert.equal(`sha256:${pulled}`, id, 'the config, and so the id, is the same everywhere');
      await using other = await openImages();
      assert.equal((await other.images.pull(other.context, `${target.host}/made:1`)).id, id);
      // What it was compressed to goes with the image.
      await images.remove(context, id, { force: true });
      assert.deepEqual(await all.left(), { blobs: 0, unfinished: 0, layers: 0 });
    } finally {
      await target.stop();
    }
  });

  test('wants a login where the registry does, and says so', async () => {
    const closed = await startRegistry({ htpasswd: basicUser.line });
    try {
      await using all = await openImages();
      const { images, context } = all;
      await images.import(context, once(await tarOf({ a: '1' })), { reference: parseReference(`${closed.host}/a:1`) });
      const error = await refused(images.push(context, `${closed.host}/a:1`));
      assert.equal(error.code, 'unauthenticated');
      assert.match(error.message, new RegExp(`pushing ${closed.host}/a:1: .*keelson login ${closed.host}`));
      await images.push(context, `${closed.host}/a:1`, { credentials: basicUser });
      await images.registries.login(context, closed.host, basicUser);
      await images.push(context, `${closed.host}/a:1`);
    } finally {
      await closed.stop();
    }
  });

  test('what has no such name, no tag, or is not here is refused', async () => {
    await using all = await openImages();
    assert.equal((await refused(all.images.push(all.context, 'nothing:here'))).code, 'not-found');
    const digest = `x@sha256:${'0'.repeat(64)}`;
    assert.match((await refused(all.images.push(all.context, digest))).message, /cannot push a digest reference/);
  });

  test('goes on when lines are cut, small blobs anew and large ones in pieces', async () => {
    const target = await startRegistry();
    try {
      await using proxy = await startFaultProxy(target.port);
      await using all = await openImages();
      const { images, context } = all;
      const noise = randomBytes(70 << 20);
      const entry = {
        type: 'file',
        path: 'noise',
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: noise.length,
        mtime: 0n,
      } as const;
      const reference = parseReference(`${proxy.host}/big:1`);
      const id = await images.import(context, writeTar([{ entry, content: noise }]), { reference });
      const cut: string[] = [];
      proxy.fault = ({ method, path }) => {
        const kind = path.includes('/blobs/uploads/') ? method : '';
        if (!['PUT', 'PATCH', 'POST'].includes(kind) || cut.filter((each) => each === kind).length >= 2)
          return undefined;
        cut.push(kind);
        return { drop: true };
      };
      await images.push(context, `${proxy.host}/big:1`);
      assert.deepEqual([...new Set(cut)].toSorted(), ['PATCH', 'POST', 'PUT']);
      await using other = await openImages();
      assert.equal((await other.images.pull(other.context, `${target.host}/big:1`)).id, id);
    } finally {
      await target.stop();
    }
  });

  test('to a registry that breaks down ends with an error that says so', async () => {
    await using proxy = await startFaultProxy(registry.port);
    await using all = await openImages();
    await all.images.import(all.context, once(await tarOf({ a: '3' })), {
      reference: parseReference(`${proxy.host}/b:1`),
    });
    const body = JSON.stringify({ errors: [{ code: 'DENIED', message: 'quota reached' }] });
    proxy.fault = ({ method }) => (method === 'POST' ? { status: 403, body } : undefined);
    const denied = await refused(all.images.push(all.context, `${proxy.host}/b:1`));
    assert.equal(denied.code, 'denied');
    assert.match(denied.message, /pushing .*\/b:1: .* refused: DENIED: quota reached/);
    proxy.fault = ({ method, path }) =>
      method === 'PUT' && path.includes('/manifests/') ? { status: 500 } : undefined;
    assert.match(
      (await refused(all.images.push(all.context, `${proxy.host}/b:1`))).message,
      /answered 500 .*\(tried 4 times\)/,
    );
  });
});
