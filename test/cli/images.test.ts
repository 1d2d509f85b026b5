import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { testEngine } from '../support/engine.ts';
import { basicUser, seedImages, seeded, startRegistry, type TestRegistry } from '../support/registry.ts';
import { onTerminal } from '../support/terminal.ts';

let registry: TestRegistry;
before(async () => {
  registry = await startRegistry();
  await seedImages(registry);
});
after(async () => registry.stop());

const at = (name: string): string => `${registry.host}/${name}`;
const none = ['--network', 'none'] as const;

test('pull tells of every layer, and of nothing new the second time', async () => {
  await using e = await testEngine();
  const name = at('busybox');
  const first = (await e.keelson('pull', name)).split('\n');
  assert.deepEqual(first.slice(0, 2), ['Using default tag: latest', `latest: Pulling from ${name}`]);
  const [layer] = (first[2] as string).split(':');
  assert.match(layer as string, /^[0-9a-f]{12}$/);
  for (const status of ['Pulling fs layer', 'Pull complete'])
    assert.ok(first.includes(`${layer}: ${status}`), first.join('\n'));
  assert.match(first.at(-3) as string, /^Digest: sha256:[0-9a-f]{64}$/);
  assert.equal(first.at(-2), `Status: Downloaded newer image for ${name}:latest`);
  assert.equal(first.at(-1), `${name}:latest`);
  const again = await e.keelson('pull', `${name}:latest`);
  assert.match(
    again,
    new RegExp(
      `^latest: Pulling from .*\n(?:.*: (?:Pulling fs layer|Already exists)\n)*Digest: .*\nStatus: Image is up to date for ${name}:latest\n${name}:latest$`,
    ),
  );
  assert.equal(await e.keelson('pull', '-q', name), `${name}:latest`);
});

test('pull on a terminal draws a bar per layer', async () => {
  await using e = await testEngine();
  const terminal = onTerminal(e, ['pull', at(seeded.app)], { rows: 30, columns: 120 });
  assert.equal(await terminal.exit, 0);
  // Up, the line cleared, drawn anew.
  assert.ok(/\[\d+A\r.\[2K[0-9a-f]{12}: Pull complete/.test(terminal.shown), JSON.stringify(terminal.shown));
  assert.match(terminal.shown, /Status: Downloaded newer image/);
});

test('run pulls what is missing, says so on standard error, and runs it with its defaults', async () => {
  await using e = await testEngine();
  const { code, stdout, stderr } = await e.cli(['run', '--rm', ...none, at(seeded.app)]);
  assert.deepEqual([code, stdout], [0, 'hello from app\n']);
  assert.ok(stderr.startsWith(`Unable to find image '${at(seeded.app)}' locally\n1.0: Pulling from `), stderr);
  const quiet = await e.cli(['run', '--rm', '-q', ...none, at('busybox'), 'echo', 'hi']);
  assert.deepEqual(quiet, {
    code: 0,
    stdout: 'hi\n',
    stderr: `Unable to find image '${at('busybox')}:latest' locally\n`,
  });
  const never = await e.cli(['run', '--rm', '--pull', 'never', 'absent:1', 'true']);
  assert.deepEqual([never.code, never.stderr], [125, 'keelson: No such image: absent:1\n']);
});

test('images, tag, history, inspect, rmi', async () => {
  await using e = await testEngine();
  await e.keelson('pull', '-q', at(seeded.app));
  const id = await e.keelson('images', '-q', '--no-trunc');
  assert.match(id, /^sha256:[0-9a-f]{64}$/);
  const short = id.slice(7, 19);
  assert.match(
    await e.keelson('images'),
    new RegExp(`^REPOSITORY +TAG {7}IMAGE ID +CREATED +SIZE\n${at('team/app')} +1\\.0 +${short} +.* ago +[\\d.]+MB$`),
  );
  await e.keelson('tag', at(seeded.app), 'mine:2');
  assert.equal(await e.keelson('images', '--format', '{{.Repository}}:{{.Tag}}', 'mine'), 'mine:2');
  assert.match(
    await e.keelson('images', '--digests', '--format', '{{.Digest}}', at('team/app')),
    /^sha256:[0-9a-f]{64}$/,
  );
  assert.match(
    (await e.keelson('history', 'mine:2')).split('\n')[0] as string,
    /^IMAGE +CREATED +CREATED BY +SIZE {6}COMMENT$/,
  );
  assert.match(await e.keelson('history', '--format', '{{.ID}}', 'mine:2'), new RegExp(`^${short}\n(<missing>\n?)+$`));

  const inspect = (format: string): Promise<string> => e.keelson('image', 'inspect', '-f', format, 'mine:2');
  assert.equal(await inspect('{{.Id}}'), id);
  assert.equal(
    await inspect('{{.Config.Entrypoint}} {{.Config.User}} {{.Config.WorkingDir}}'),
    '[/bin/sh -c] app /home/app',
  );
  assert.equal(await inspect('{{json .Config.ExposedPorts}}'), '{"8080/tcp":{}}');
  assert.equal(await inspect('{{index .Config.Labels "org.example.kind"}} {{len .RootFS.Layers}}'), 'app 4');
  assert.equal(await e.keelson('inspect', '-f', '{{.Os}}', id), 'linux');

  assert.equal(await e.keelson('rmi', 'mine:2'), 'Untagged: mine:2');
  const container = await e.keelson('create', at(seeded.app));
  const used = await e.cli(['rmi', at(seeded.app)]);
  assert.equal(used.code, 1);
  assert.match(used.stderr, /conflict: unable to (remove repository reference|delete) /);
  await e.keelson('rm', '-v', container);
  const removed = await e.keelson('rmi', at(seeded.app));
  assert.match(removed, /^Untagged: .*\n(Untagged: .*@sha256:[0-9a-f]{64}\n)?Deleted: sha256:/);
  assert.deepEqual(await e.cli(['rmi', 'nope']), {
    code: 1,
    stdout: '',
    stderr: 'keelson: No such image: nope:latest\n',
  });
});

test('save, load, export, import, commit', async () => {
  await using e = await testEngine();
  await e.keelson('pull', '-q', at('busybox'));
  await e.keelson('tag', at('busybox'), 'bb:1');
  const id = await e.keelson('images', '-q', '--no-trunc', 'bb');
  await e.keelson('save', '-o', 'image.tar', 'bb:1');
  await e.keelson('rmi', 'bb:1', `${at('busybox')}:latest`);
  assert.equal(await e.keelson('load', '-i', 'image.tar'), 'Loaded image: bb:1');
  assert.equal(await e.keelson('images', '-q', '--no-trunc', 'bb'), id);

  await e.cli(['run', '--name', 'made', ...none, 'bb:1', 'sh', '-c', 'echo content > /made']);
  const committed = await e.keelson('commit', '-m', 'a message', '-c', 'CMD ["cat", "/made"]', 'made', 'made:1');
  assert.match(committed, /^sha256:[0-9a-f]{64}$/);
  assert.equal(await e.keelson('run', '--rm', ...none, 'made:1'), 'content');
  assert.match(await e.keelson('history', 'made:1'), /a message/);
  await e.keelson('export', '-o', 'root.tar', 'made');
  const imported = await e.keelson('import', '-c', 'ENTRYPOINT ["cat"]', 'root.tar', 'flat:1');
  assert.match(imported, /^sha256:[0-9a-f]{64}$/);
  assert.equal(await e.keelson('run', '--rm', ...none, 'flat:1', '/made'), 'content');

  const missing = await e.cli(['load', '-i', '/no/such.tar']);
  assert.deepEqual([missing.code, missing.stderr], [1, 'keelson: open /no/such.tar: no such file or directory\n']);
});

test('push, and a registry that wants to know who one is', async () => {
  await using e = await testEngine();
  const guarded = await startRegistry({ htpasswd: basicUser.line });
  try {
    await e.keelson('pull', '-q', at('busybox'));
    const target = `${guarded.host}/copy:1`;
    await e.keelson('tag', at('busybox'), target);
    const refused = await e.cli(['push', target]);
    assert.equal(refused.code, 1);
    const wrong = await e.cli(['login', '-u', 'keel', '--password-stdin', guarded.host], { input: 'wrong' });
    assert.equal(wrong.code, 1);
    const login = await e.cli(['login', '-u', basicUser.username, '--password-stdin', guarded.host], {
      input: `${basicUser.password}\n`,
    });
    assert.deepEqual([login.code, login.stdout], [0, 'Login Succeeded\n']);
    const pushed = await e.keelson('push', target);
    assert.match(pushed, new RegExp(`^The push refers to repository \\[${guarded.host}/copy\\]\n`));
    assert.match(pushed, /\n1: digest: sha256:[0-9a-f]{64} size: \d+$/);
    assert.equal(await e.keelson('logout', guarded.host), `Removing login credentials for ${guarded.host}`);
    assert.equal((await e.cli(['pull', target])).code, 1);
  } finally {
    await guarded.stop();
  }
});

test('image prune', async () => {
  await using e = await testEngine();
  await e.keelson('pull', '-q', at('busybox'));
  assert.match(await e.keelson('image', 'prune', '-f'), /^Total reclaimed space: /);
  assert.match(
    await e.keelson('image', 'prune', '-af'),
    /^Deleted Images:\nuntagged: .*\n(?:.*\n)*deleted: sha256:(?:.*\n)*\nTotal reclaimed space: \S+$/,
  );
  assert.equal(await e.keelson('images', '-q'), '');
});

test('a registry that is not there', async () => {
  await using e = await testEngine();
  const { code, stdout, stderr } = await e.cli(['pull', '127.0.0.1:1/x']);
  assert.deepEqual([code, stdout], [1, 'Using default tag: latest\n']);
  assert.match(stderr, /^keelson: .*127\.0\.0\.1:1.*ECONNREFUSED/);
});
