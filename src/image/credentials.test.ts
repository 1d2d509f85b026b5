import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, test } from 'node:test';
import { Context } from '../ground/context.ts';
import { CredentialStore } from './credentials.ts';
import { hubCredentialsKey } from './registry-hosts.ts';

const context = new Context();
let dir: string;
const path = process.env['PATH'];

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'keelson-credentials-'));
  // A helper by the protocol of docker-credential-helpers, over one file.
  const helper = join(dir, 'docker-credential-test');
  await writeFile(
    helper,
    `#!/bin/sh
file=${dir}/kept
case $1 in
  get) read -r url; if [ -e "$file" ]; then cat "$file"; else echo "credentials not found in native keychain"; exit 1; fi ;;
  store) cat > "$file" ;;
  erase) rm -f "$file" ;;
esac
`,
  );
  await chmod(helper, 0o755);
  process.env['PATH'] = `${dir}${delimiter}${path}`;
});

after(async () => {
  process.env['PATH'] = path;
  await rm(dir, { recursive: true, force: true });
});

async function withConfig(name: string, content: unknown): Promise<[CredentialStore, string]> {
  const configPath = join(dir, `${name}.json`);
  await writeFile(configPath, typeof content === 'string' ? content : JSON.stringify(content));
  return [new CredentialStore({ configPath }), configPath];
}

const encoded = (text: string): { auth: string } => ({ auth: Buffer.from(text).toString('base64') });

test('credentials are found under every form of the registry’s name that docker wrote', async () => {
  const [store] = await withConfig('forms', {
    auths: {
      'plain.lan:5000': encoded('a:b'),
      'https://old.lan/v1/': encoded('c:d:e'),
      [hubCredentialsKey]: encoded('hub:pw'),
      'token.lan': { auth: '', identitytoken: 'tok' },
      'spaces.lan/team': encoded('team:t'),
      'spaces.lan': encoded('all:x'),
      'empty.lan': {},
    },
  });
  assert.deepEqual(await store.get(context, 'plain.lan:5000'), { username: 'a', password: 'b' });
  assert.deepEqual(await store.get(context, 'old.lan'), { username: 'c', password: 'd:e' });
  assert.deepEqual(await store.get(context, hubCredentialsKey, 'library/alpine'), { username: 'hub', password: 'pw' });
  assert.deepEqual(await store.get(context, 'token.lan'), { identityToken: 'tok' });
  assert.deepEqual(await store.get(context, 'spaces.lan', 'team/app'), { username: 'team', password: 't' });
  assert.deepEqual(await store.get(context, 'spaces.lan', 'teams/app'), { username: 'all', password: 'x' });
  assert.equal(await store.get(context, 'empty.lan'), undefined);
  assert.equal(await store.get(context, 'plain.lan'), undefined, 'another port is another registry');
});

test('storing keeps the rest of the file, its link and its privacy', async () => {
  const [, real] = await withConfig('real', { psFormat: 'x', auths: { 'other.lan': encoded('o:p') } });
  const link = join(dir, 'link.json');
  await symlink(real, link);
  const store = new CredentialStore({ configPath: link });
  assert.equal(await store.store(context, 'new.lan', { username: 'u', password: 'p' }), link);
  const config = JSON.parse(await readFile(real, 'utf8')) as { psFormat: string; auths: Record<string, unknown> };
  assert.equal(config.psFormat, 'x');
  assert.deepEqual(config.auths, { 'other.lan': encoded('o:p'), 'new.lan': encoded('u:p') });
  assert.equal((await stat(real)).mode & 0o777, 0o600);
  assert.equal(await store.erase(context, 'new.lan'), true);
  assert.equal(await store.erase(context, 'new.lan'), false);
  assert.deepEqual(await store.get(context, 'other.lan'), { username: 'o', password: 'p' });
});

test('a credential helper is asked, and keeps what is stored', async () => {
  const [store, file] = await withConfig('helper', { credHelpers: { 'helped.lan': 'test' }, auths: {} });
  assert.equal(await store.get(context, 'helped.lan'), undefined);
  assert.equal(await store.store(context, 'helped.lan', { username: 'u', password: 'p' }), 'docker-credential-test');
  assert.deepEqual(await store.get(context, 'helped.lan'), { username: 'u', password: 'p' });
  assert.ok(!(await readFile(file, 'utf8')).includes('auth"'));
  await store.store(context, 'helped.lan', { identityToken: 'tok' });
  assert.deepEqual(await store.get(context, 'helped.lan'), { identityToken: 'tok' });
  assert.equal(await store.erase(context, 'helped.lan'), true);
  assert.equal(await store.get(context, 'helped.lan'), undefined);
});

test('a helper that is not installed does not stand in the way of public images', async () => {
  const [store] = await withConfig('missing', { credsStore: 'no-such-helper' });
  assert.equal(await store.get(context, 'x.lan'), undefined);
  await assert.rejects(
    store.store(context, 'x.lan', { username: 'u', password: 'p' }),
    /docker-credential-no-such-helper/,
  );
});

test('a configuration that is wrong is told without its secrets', async () => {
  const refused: [content: unknown, message: RegExp][] = [
    ['{"auths": {"x": {"auth": "c2VjcmV0"}', /is not JSON$/],
    ['[]', /must be an object/],
    [{ auths: [] }, /auths must be an object/],
    [{ credsStore: '../../bin/sh' }, /is not a program's name/],
    [{ auths: { 'x.lan': encoded('no colon') } }, /can't be read: run `keelson login` again/],
  ];
  for (const [i, [content, message]] of refused.entries()) {
    const [store] = await withConfig(`wrong-${i}`, content);
    await assert.rejects(store.get(context, 'x.lan'), message);
  }
  const [empty] = await withConfig('empty', '');
  assert.equal(await empty.get(context, 'x.lan'), undefined);
});
