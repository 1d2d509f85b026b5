import assert from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Context } from '../../src/ground/context.ts';
import { KeelsonError } from '../../src/ground/errors.ts';
import { downloadBlob } from '../../src/image/blob-download.ts';
import { ContentStore } from '../../src/image/content-store.ts';
import { CredentialStore } from '../../src/image/credentials.ts';
import { parsePlatform } from '../../src/image/platform.ts';
import { parseReference } from '../../src/image/reference.ts';
import { Registries, type RegistriesOptions } from '../../src/image/registries.ts';
import { findRemoteImage, type RemoteImage } from '../../src/image/remote-image.ts';
import { type Certificates, makeCertificates } from '../support/certificates.ts';
import { type Fault, type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts';
import { basicUser, seeded, seedImages, startRegistry, type TestRegistry } from '../support/registry.ts';
import { startTokenServer } from '../support/token-server.ts';

const quick = { attempts: 4, baseMs: 5, maxMs: 20, maxRetryAfterMs: 3000 };
const amd64 = parsePlatform('linux/amd64');
let dir: string;
let registry: TestRegistry;
let certificates: Certificates;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'keelson-client-'));
  registry = await startRegistry();
  await seedImages(registry);
  certificates = await makeCertificates(dir);
});

after(async () => {
  await registry.stop();
  await rm(dir, { recursive: true, force: true });
});

function registries(options: RegistriesOptions = {}): Registries {
  return new Registries({
    settings: {},
    credentials: new CredentialStore({ configPath: join(dir, 'no-config.json') }),
    retry: quick,
    ...options,
  });
}

async function find(all: Registries, name: string, context = new Context()): Promise<RemoteImage> {
  const reference = parseReference(name);
  const clients = await all.forPull(context, reference.domain, reference.path);
  return findRemoteImage(context, clients, reference, amd64);
}

async function refused(work: Promise<unknown>): Promise<KeelsonError> {
  const error: unknown = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  assert.ok(error instanceof KeelsonError, `should have been refused: ${String(error)}`);
  return error;
}

describe('finding a manifest', () => {
  test('every kind of manifest and index leads to the manifest for the platform', async () => {
    using all = registries();
    for (const name of Object.values(seeded)) {
      const found = await find(all, `${registry.host}/${name}`);
      assert.ok(found.manifest.layers.length >= 1, name);
      const byDigest = await find(all, `${registry.host}/${name.split(':')[0]}@${found.digest}`);
      assert.equal(byDigest.manifestDigest, found.manifestDigest);
    }
  });

  test('a tag, a repository and a digest that are not there are each not found', async () => {
    using all = registries();
    for (const name of ['busybox:none', 'nothing/here', `busybox@sha256:${'0'.repeat(64)}`]) {
      const error = await refused(find(all, `${registry.host}/${name}`));
      assert.equal(error.code, 'not-found');
      assert.match(error.message, /^manifest for 127\.0\.0\.1:\d+\/.* not found: .*MANIFEST_UNKNOWN/);
    }
  });

  test('nobody listening is told at once, by address', async () => {
    using all = registries();
    const error = await refused(find(all, '127.0.0.1:1/x'));
    assert.equal(error.code, 'unavailable');
    assert.match(error.message, /^pulling 127\.0\.0\.1:1\/x:latest: 127\.0\.0\.1:1: .*ECONNREFUSED/);
  });

  test('a platform that the index lacks is told with those it has', async () => {
    using all = registries();
    const reference = parseReference(`${registry.host}/${seeded.multi}`);
    const clients = await all.forPull(new Context(), reference.domain, reference.path);
    const wanted = parsePlatform('linux/s390x');
    const error = await refused(findRemoteImage(new Context(), clients, reference, wanted));
    assert.match(
      error.message,
      /no matching manifest for linux\/s390x .* it has linux\/amd64, linux\/arm64\/v8, linux\/arm\/v7/,
    );
  });

  test('mirrors come first and are passed over when they fail', async () => {
    await using mirror = await startFaultProxy(registry.port);
    using all = registries({ settings: { mirrors: { [registry.host]: [`http://${mirror.host}`] } } });
    const found = await find(all, `${registry.host}/busybox`);
    assert.equal(found.client.endpoint.host, mirror.host);
    mirror.fault = () => ({ status: 500 });
    assert.equal((await find(all, `${registry.host}/busybox`)).client.endpoint.host, registry.host);
  });
});

describe('a registry in trouble', () => {
  async function trouble(
    fault: FaultProxy['fault'],
    options: RegistriesOptions = {},
  ): Promise<[KeelsonError, FaultProxy]> {
    await using proxy = await startFaultProxy(registry.port);
    using all = registries(options);
    proxy.fault = fault;
    return [await refused(find(all, `${proxy.host}/busybox`)), proxy];
  }
  const isManifest = (path: string): boolean => path.includes('/manifests/');

  test('500 and cut lines are tried again, and it works when they pass', async () => {
    await using proxy = await startFaultProxy(registry.port);
    using all = registries();
    proxy.fault = ({ path, nth }): Fault | undefined =>
      isManifest(path) ? [{ status: 500 }, { cutAfter: 0 }, { cutAfter: 40 }][nth - 1] : undefined;
    await find(all, `${proxy.host}/busybox`);
    assert.equal(proxy.seen.filter(({ path }) => isManifest(path)).length, 4);
  });

  test('one that stays broken is given up after a few attempts, with its words', async () => {
    const body = JSON.stringify({ errors: [{ code: 'UNKNOWN', message: 'disk \u001b[31mon fire' }] });
    const [error, proxy] = await trouble(({ path }) => (isManifest(path) ? { status: 503, body } : undefined));
    assert.equal(error.code, 'unavailable');
    assert.match(
      error.message,
      /answered 503 \(Service Unavailable\): UNKNOWN: disk  ?\[31mon fire \(tried 4 times\)$/,
    );
    assert.equal(proxy.seen.filter(({ path }) => isManifest(path)).length, 4);
  });

  test('429 waits as long as Retry-After says, and not for ages', async () => {
    await using proxy = await startFaultProxy(registry.port);
    using all = registries();
    proxy.fault = ({ path, nth }): Fault | undefined =>
      isManifest(path) && nth === 1 ? { status: 429, headers: { 'retry-after': '1' } } : undefined;
    const started = Date.now();
    await find(all, `${proxy.host}/busybox`);
    assert.ok(Date.now() - started >= 1000);
    const [error] = await trouble(() => ({ status: 429, headers: { 'retry-after': '3600' } }));
    assert.equal(error.code, 'unavailable');
    assert.match(error.message, /toomanyrequests/);
  });

  test('silence ends with a timeout', async () => {
    const [error] = await trouble(({ path }) => (isManifest(path) ? { stallAfter: 10 } : undefined), {
      silenceMs: 200,
    });
    assert.match(error.message, /not a byte for/);
  });

  test('a manifest that is too long, no JSON, of another digest or not an image is refused', async () => {
    const answer = (body: string, type = 'application/vnd.oci.image.manifest.v1+json') =>
      trouble(({ path }) => (isManifest(path) ? { status: 200, headers: { 'content-type': type }, body } : undefined));
    const [long] = await answer('x'.repeat((4 << 20) + 1));
    assert.match(long.message, /is longer than 4194304 bytes/);
    const [html] = await answer('<html>', 'text/html');
    assert.equal(html.code, 'corrupt');
    assert.match(html.message, /is not JSON/);
    const [old] = await answer(
      '{"schemaVersion":1,"fsLayers":[]}',
      'application/vnd.docker.distribution.manifest.v1+prettyjws',
    );
    assert.equal(old.code, 'unsupported');

    await using proxy = await startFaultProxy(registry.port);
    using all = registries();
    const { digest } = await find(all, `${registry.host}/busybox`);
    proxy.fault = ({ path }) =>
      isManifest(path)
        ? { rewrite: (bytes) => Buffer.from(bytes.toString().replace('"schemaVersion":2', '"schemaVersion": 2')) }
        : undefined;
    // The header still claims the old digest; only the bytes count.
    const lie = await refused(find(all, `${proxy.host}/busybox@${digest}`));
    assert.equal(lie.code, 'corrupt');
    assert.match(lie.message, /its bytes have the digest sha256:.*, not sha256:/);
  });

  test('the caller can stop it at any time', async () => {
    await using proxy = await startFaultProxy(registry.port);
    using all = registries();
    proxy.fault = ({ path }) => (isManifest(path) ? { stallAfter: 10 } : undefined);
    const context = new Context({ signal: AbortSignal.timeout(100) });
    assert.equal((await refused(find(all, `${proxy.host}/busybox`, context))).code, 'timeout');
  });
});

describe('redirects', () => {
  test('are followed without the Authorization to another host', async () => {
    await using storage = await startFaultProxy(registry.port);
    await using front = await startFaultProxy(registry.port);
    front.fault = ({ path, headers }) => {
      if (!path.includes('/blobs/') && !path.includes('/manifests/')) return undefined;
      if (!headers.authorization) return { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' } };
      return { status: 307, headers: { location: `http://${storage.host}${path}` } };
    };
    using all = registries();
    const reference = parseReference(`${front.host}/busybox`);
    const credentials = { username: 'u', password: 'p' };
    const clients = await all.forPull(new Context(), reference.domain, reference.path, credentials);
    await findRemoteImage(new Context(), clients, reference, amd64);
    assert.ok(storage.seen.length > 0);
    assert.ok(storage.seen.every(({ headers }) => headers.authorization === undefined));
  });

  test('to what is not encrypted, in circles and to nonsense are refused', async () => {
    await using front = await startFaultProxy(registry.port);
    using all = registries();
    const to: Record<string, RegExp> = {
      'http://192.0.2.1/x': /redirects to http:\/\/192\.0\.2\.1, which is not encrypted/,
      'file:///etc/passwd': /which is not encrypted/,
      'http://[nonsense': /redirects to "http/,
      '': /more than 8 redirects/,
    };
    for (const [location, message] of Object.entries(to)) {
      front.fault = ({ path }) =>
        path.includes('/manifests/') ? { status: 302, headers: { location: location || path } } : undefined;
      assert.match((await refused(find(all, `${front.host}/busybox`))).message, message);
    }
  });
});

describe('downloads', () => {
  interface Download {
    store: ContentStore;
    proxy: FaultProxy;
    seen: () => (string | undefined)[];
    run: (context?: Context) => Promise<void>;
    size: number;
    path: string;
  }

  async function withDownload(
    use: (download: Download) => Promise<void>,
    options: RegistriesOptions = {},
  ): Promise<void> {
    await using proxy = await startFaultProxy(registry.port);
    using all = registries(options);
    const root = await mkdtemp(join(dir, 'content-'));
    const store = new ContentStore(root);
    const { client, manifest } = await find(all, `${proxy.host}/busybox`);
    const [layer] = manifest.layers;
    assert.ok(layer);
    const run = (context = new Context()): Promise<void> =>
      downloadBlob(context, layer, {
        client,
        repository: 'busybox',
        store,
        retry: quick,
        doing: 'pulling x',
      });
    const seen = (): (string | undefined)[] =>
      proxy.seen.filter(({ path }) => path.includes(layer.digest)).map(({ headers }) => headers.range);
    await use({ store, proxy, seen, run, size: layer.size, path: store.path(layer.digest) });
    assert.deepEqual(await store.list().then((blobs) => blobs.map(({ size }) => size)), [layer.size]);
  }
  const isBlob = (path: string): boolean => path.includes('/blobs/');

  test('go on where the line was cut', async () => {
    await withDownload(async ({ proxy, run, seen }) => {
      proxy.fault = ({ path, nth }) => (isBlob(path) && nth <= 3 ? { cutAfter: 200_000 } : undefined);
      await run();
      assert.deepEqual(seen(), [undefined, 'bytes=200000-', 'bytes=400000-', 'bytes=600000-']);
    });
  });

  test('go on after silence', async () => {
    await withDownload(
      async ({ proxy, run, seen }) => {
        proxy.fault = ({ path, nth }) => (isBlob(path) && nth === 1 ? { stallAfter: 300_000 } : undefined);
        await run();
        assert.deepEqual(seen(), [undefined, 'bytes=300000-']);
      },
      { silenceMs: 300 },
    );
  });

  test('begin again with a server that does no ranges', async () => {
    await withDownload(async ({ proxy, run, seen }) => {
      proxy.fault = ({ path, nth }) =>
        isBlob(path) ? { ignoreRange: true, ...(nth === 1 && { cutAfter: 200_000 }) } : undefined;
      await run();
      assert.equal(seen().length, 2);
    });
  });

  test('are taken up by a later attempt, even of another process', async () => {
    await withDownload(async ({ proxy, run, seen, store, path }) => {
      proxy.fault = ({ path: asked, nth }) =>
        isBlob(asked) ? (nth === 1 ? { cutAfter: 500_000 } : { status: 404 }) : undefined;
      await refused(run());
      await assert.rejects(stat(path));
      proxy.fault = () => undefined;
      await run();
      assert.deepEqual(seen(), [undefined, 'bytes=500000-', 'bytes=500000-']);
      assert.deepEqual(await store.listUnfinished(), []);
    });
  });

  test('of other bytes, too many or too few are refused and leave nothing', async () => {
    await withDownload(async ({ proxy, run, store, size }) => {
      const flip = (body: Buffer): Buffer => {
        body[1000] = (body[1000] ?? 0) ^ 1;
        return body;
      };
      const lies: [rewrite: (body: Buffer) => Uint8Array, message: RegExp][] = [
        [flip, /sent a wrong blob: sha256:.*: its bytes have the digest/],
        [(body) => Buffer.concat([body, Buffer.from('x')]), new RegExp(`has ${size + 1} bytes there`)],
        [(body) => body.subarray(1), new RegExp(`has ${size - 1} bytes there`)],
      ];
      for (const [rewrite, message] of lies) {
        proxy.fault = ({ path }) => (isBlob(path) ? { rewrite } : undefined);
        const error = await refused(run());
        assert.equal(error.code, 'corrupt');
        assert.match(error.message, message);
        assert.deepEqual(await store.list(), []);
        assert.deepEqual(await store.listUnfinished(), []);
      }
      proxy.fault = () => undefined;
      await run();
    });
  });

  test('that are canceled stop at once and can be taken up', async () => {
    await withDownload(async ({ proxy, run, seen }) => {
      proxy.fault = ({ path, nth }) => (isBlob(path) && nth === 1 ? { stallAfter: 100_000 } : undefined);
      const error = await refused(run(new Context({ signal: AbortSignal.timeout(300) })));
      assert.equal(error.code, 'timeout');
      await run();
      assert.deepEqual(seen(), [undefined, 'bytes=100000-']);
    });
  });
});

describe('authentication', () => {
  const name = (host: string): string => `${host}/busybox`;

  test('Basic: with, without and with wrong credentials', async () => {
    const closed = await startRegistry({ htpasswd: basicUser.line, storage: join(registry.dir, 'data') });
    try {
      using anonymous = registries();
      const wanted = await refused(find(anonymous, name(closed.host)));
      assert.equal(wanted.code, 'unauthenticated');
      assert.match(wanted.message, new RegExp(`try \`keelson login ${closed.host}\``));

      const configPath = join(dir, 'basic/config.json');
      using all = registries({ credentials: new CredentialStore({ configPath }) });
      const wrong = await refused(all.login(new Context(), closed.host, { username: 'keel', password: 'wrong' }));
      assert.equal(wrong.code, 'unauthenticated');
      await assert.rejects(stat(configPath));
      assert.equal(await all.login(new Context(), closed.host, basicUser), configPath);
      assert.equal((await stat(configPath)).mode & 0o777, 0o600);
      await find(all, name(closed.host));
      assert.equal(await all.logout(new Context(), closed.host), true);
      assert.equal(await all.logout(new Context(), closed.host), false);
      assert.equal((await refused(find(all, name(closed.host)))).code, 'unauthenticated');
    } finally {
      await closed.stop();
    }
  });

  test('Bearer: anonymous, by password, by identity token, and anew when a token has expired', async () => {
    const { key, certificate } = certificates.server;
    const service = 'keelson test';
    await using tokens = await startTokenServer({ issuer: 'test', service, key, users: { keel: 's3cret' } });
    const token = { realm: tokens.realm, service, issuer: 'test', rootcertbundle: certificate };
    const closed = await startRegistry({ token, storage: join(registry.dir, 'data') });
    try {
      using anonymous = registries();
      assert.equal((await refused(find(anonymous, name(closed.host)))).code, 'unauthenticated');
      assert.deepEqual(tokens.asked[0], { method: 'GET', scopes: ['repository:busybox:pull'], user: undefined });

      const configPath = join(dir, 'bearer/config.json');
      const credentials = new CredentialStore({ configPath });
      using all = registries({ credentials });
      const wrong = await refused(all.login(new Context(), closed.host, { username: 'keel', password: 'no' }));
      assert.match(wrong.message, /refused user keel's credentials/);
      await all.login(new Context(), closed.host, { username: 'keel', password: 's3cret' });
      assert.deepEqual(await credentials.get(new Context(), closed.host), { identityToken: 'identity-of-keel' });

      const from = tokens.asked.length;
      await find(all, name(closed.host));
      const [first, ...more] = tokens.asked.slice(from);
      assert.deepEqual(first, { method: 'POST', scopes: ['repository:busybox:pull'], user: 'keel' });
      assert.equal(more.length, 0, 'one token serves all requests');

      tokens.lifetime = 1;
      const reference = parseReference(name(closed.host));
      const clients = await all.forPull(new Context(), reference.domain, reference.path);
      await findRemoteImage(new Context(), clients, reference, amd64);
      await new Promise((resolve) => setTimeout(resolve, 1500));
      await findRemoteImage(new Context(), clients, reference, amd64);
    } finally {
      await closed.stop();
    }
  });

  test('a token server that is not encrypted gets no credentials', async () => {
    await using front = await startFaultProxy(registry.port);
    front.fault = ({ path }) =>
      path.includes('/manifests/')
        ? { status: 401, headers: { 'www-authenticate': 'Bearer realm="http://192.0.2.1/token",service="x"' } }
        : undefined;
    using all = registries();
    const error = await refused(find(all, name(front.host)));
    assert.equal(error.code, 'denied');
    assert.match(error.message, /token server http:\/\/192\.0\.2\.1 is not encrypted/);
  });
});

describe('HTTPS', () => {
  const tls = (clientCa?: string): { certificate: string; key: string; clientCa?: string } => ({
    ...certificates.server,
    ...(clientCa && { clientCa }),
  });

  test('an authority that nobody knows is refused, one in certs.d is trusted', async () => {
    const secure = await startRegistry({ tls: tls(), storage: join(registry.dir, 'data') });
    try {
      const certificateDirs = [join(dir, 'certs.d')];
      using stranger = registries({ settings: { 'certificate-dirs': certificateDirs } });
      const error = await refused(find(stranger, `${secure.host}/busybox`));
      assert.equal(error.code, 'denied');
      assert.match(
        error.message,
        /its certificate can't be trusted .*\/etc\/docker\/certs\.d\/127\.0\.0\.1:\d+\/ca\.crt/,
      );

      await mkdir(join(dir, 'certs.d', secure.host), { recursive: true });
      await copyFile(certificates.ca, join(dir, 'certs.d', secure.host, 'ca.crt'));
      using all = registries({ settings: { 'certificate-dirs': certificateDirs } });
      await find(all, `${secure.host}/busybox`);

      using careless = registries({ settings: { 'certificate-dirs': [], insecure: [secure.host] } });
      await find(careless, `${secure.host}/busybox`);
    } finally {
      await secure.stop();
    }
  });

  test('a client certificate is shown to a registry that wants one', async () => {
    const secure = await startRegistry({ tls: tls(certificates.ca), storage: join(registry.dir, 'data') });
    try {
      const own = join(dir, 'client.d', secure.host);
      await mkdir(own, { recursive: true });
      await copyFile(certificates.ca, join(own, 'ca.crt'));
      using without = registries({ settings: { 'certificate-dirs': [join(dir, 'client.d')] } });
      assert.equal((await refused(find(without, `${secure.host}/busybox`))).code, 'unavailable');
      await copyFile(certificates.client.certificate, join(own, 'client.cert'));
      await copyFile(certificates.client.key, join(own, 'client.key'));
      using all = registries({ settings: { 'certificate-dirs': [join(dir, 'client.d')] } });
      await find(all, `${secure.host}/busybox`);
    } finally {
      await secure.stop();
    }
  });
});
