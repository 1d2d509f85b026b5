/** What crun's callers know and runc has not: more words of the command line, and configs that crun takes. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Hooks, Scheduler } from '../../src/spec/runtime.ts';
import { Oci } from '../support/oci.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';

test('delete --regex deletes what the pattern is found in, and nothing else', { skip }, async () => {
  await using oci = new Oci();
  for (const id of ['web-1', 'web-2', 'db-1'])
    assert.equal((await oci.command('run', '-d', '-b', oci.bundle(['sleep', '100']), id)).code, 0);
  const refused = await oci.command('delete', '--regex', '^web-1$');
  assert.match(refused.stderr, /cannot delete container web-1 that is not stopped: running/);
  assert.equal((await oci.command('delete', '-f', '--regex', '^web-')).code, 0);
  assert.equal((await oci.command('list', '-q')).stdout, 'db-1\n');
  const { code, stderr } = await oci.command('delete', '--regex', '(');
  assert.equal(code, 1);
  assert.match(stderr, /invalid regular expression \(/);
});

test('a working directory that is not there is made', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['pwd'], (spec) => ({
    ...spec,
    process: { ...spec.process!, cwd: '/not/there' },
    root: { path: 'rootfs', readonly: true },
  }));
  assert.deepEqual(await oci.command('run', '-b', bundle, 'a'), { code: 0, stdout: '/not/there\n', stderr: '' });
});

test('a device whose path ends in a slash is no trouble', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['stat', '-c', '%F', '/mnt'], (spec) => ({
    ...spec,
    linux: { ...spec.linux, devices: [{ path: '/mnt/', type: 'c', major: 1, minor: 3 }] },
  }));
  assert.deepEqual(await oci.command('run', '-b', bundle, 'a'), {
    code: 0,
    stdout: 'character special file\n',
    stderr: '',
  });
  const taken = oci.bundle(['stat', '-c', '%F', '/mnt'], (spec) => ({
    ...spec,
    linux: { ...spec.linux, devices: [{ path: '/mnt/', type: 'c', major: 1, minor: 3 }] },
  }));
  mkdirSync(join(taken, 'rootfs/mnt'));
  assert.equal((await oci.command('run', '-b', taken, 'a')).stdout, 'directory\n');
});

test('domainname and a sysctl that says otherwise are refused, before anything is made', { skip }, async () => {
  await using oci = new Oci();
  const bundle = (value: string) =>
    oci.bundle(['cat', '/proc/sys/kernel/domainname'], (spec) => ({
      ...spec,
      domainname: 'there',
      linux: { ...spec.linux, sysctl: { 'kernel.domainname': value } },
    }));
  const { code, stderr } = await oci.command('run', '-b', bundle('elsewhere'), 'a');
  assert.equal(code, 1);
  assert.match(stderr, /linux\.sysctl\[.*kernel\.domainname.*\]: .*elsewhere.* conflicts with .*domainname.*there/);
  assert.equal((await oci.command('run', '-b', bundle('there'), 'a')).stdout, 'there\n');
});

test('a poststart hook that fails ends the container and removes it; a poststop hook that fails is told', {
  skip,
}, async () => {
  await using oci = new Oci();
  const bundle = (hooks: Hooks) => oci.bundle(['sleep', '100'], (spec) => ({ ...spec, hooks }));
  assert.equal((await oci.command('create', '-b', bundle({ poststart: [{ path: '/bin/false' }] }), 'a')).code, 0);
  const { code, stderr } = await oci.command('start', 'a');
  assert.equal(code, 1);
  assert.match(stderr, /error running poststart hook #0: exit status 1/);
  assert.match((await oci.command('state', 'a')).stderr, /container does not exist/);
  const stopping = bundle({ poststop: [{ path: '/bin/sh', args: ['sh', '-c', 'exit 3'] }] });
  assert.equal((await oci.command('run', '-d', '-b', stopping, 'b')).code, 0);
  const deleted = await oci.command('delete', '-f', 'b');
  assert.equal(deleted.code, 0);
  assert.match(deleted.stderr, /level=warning msg="poststop hook failed with exit code 3: /);
});

test('--config names another file of the bundle', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['echo', 'elsewhere']);
  mkdirSync(join(bundle, 'configs'));
  renameSync(join(bundle, 'config.json'), join(bundle, 'configs/one.json'));
  assert.equal((await oci.command('run', '-b', bundle, '--config', 'configs/one.json', 'a')).stdout, 'elsewhere\n');
  assert.match((await oci.command('run', '-b', bundle, 'a')).stderr, /config\.json not found/);
});

test('where messages can go to is looked at first', { skip }, async () => {
  await using oci = new Oci();
  assert.match((await oci.command('--log-format', 'xml', 'list')).stderr, /invalid log-format: xml/);
  assert.match((await oci.command('--log', 'no/such/log', 'list')).stderr, /opening the log file .*ENOENT/);
  const log = join(oci.directory, 'log');
  assert.equal((await oci.command('--log', `file:${log}`, '--log-format', 'json', 'state', 'none')).code, 1);
  assert.match(readFileSync(log, 'utf8'), /^\{"level":"error","msg":"container does not exist"/m);
});

test('a user namespace of root’s without maps has root alone', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['cat', '/proc/self/uid_map', '/proc/self/gid_map'], (spec) => ({
    ...spec,
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
    linux: { ...spec.linux, namespaces: [...(spec.linux?.namespaces ?? []), { type: 'user' }] },
  }));
  const { stdout, stderr } = await oci.command('run', '-b', bundle, 'a');
  assert.equal(stdout.replace(/ +/g, ' '), ' 0 0 1\n 0 0 1\n', stderr);
});

test('a deadline that the kernel would refuse is refused by name', { skip }, async () => {
  await using oci = new Oci();
  const run = (scheduler: Partial<Scheduler>) =>
    oci.command(
      'run',
      '-b',
      oci.bundle(['true'], (spec) => ({
        ...spec,
        process: { ...spec.process!, scheduler: { policy: 'SCHED_DEADLINE', ...scheduler } },
      })),
      'a',
    );
  const message = (why: string) => new RegExp(`process\\.scheduler: sched_setattr: .SCHED_DEADLINE. ${why}`);
  assert.match((await run({ deadline: 2e7, period: 2e7 })).stderr, message('requires .runtime.'));
  assert.match((await run({ runtime: 1e7, period: 2e7 })).stderr, message('requires .deadline.'));
  assert.match((await run({ runtime: 1023, deadline: 1e7 })).stderr, message('runtime .1023. must be between'));
  assert.match((await run({ runtime: 3e7, deadline: 2e7 })).stderr, message('runtime .* must be <= deadline'));
  assert.match(
    (await run({ runtime: 1e7, deadline: 3e7, period: 2e7 })).stderr,
    message('deadline .* must be <= period'),
  );
});

test('socket activation without the sockets is passed on as it is', { skip }, async () => {
  await using oci = new Oci();
  const { stdout } = await oci.with({ env: { LISTEN_FDS: '1' } }, 'run', '-b', oci.bundle(['env']), 'a');
  assert.match(stdout, /^LISTEN_PID=1$/m);
});

test('a container without a process is created, and not started', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['true'], (spec) => {
    const { process, ...rest } = spec;
    assert.ok(process);
    return rest;
  });
  assert.deepEqual(await oci.command('create', '-b', bundle, 'a'), { code: 0, stdout: '', stderr: '' });
  assert.match((await oci.command('start', 'a')).stderr, /cannot start a container whose config has no process/);
  assert.equal((await oci.state('a'))['status'], 'created');
  assert.equal((await oci.command('delete', 'a')).code, 0);
  assert.match((await oci.command('run', '-b', bundle, 'b')).stderr, /config\.json: process: is missing/);
});

test('a root of every propagation, in a file system that is the root’s own', { skip }, async () => {
  await using oci = new Oci();
  for (const [rootfsPropagation, word] of [
    ['unbindable', / \/ \/ .* unbindable - /],
    ['runbindable', / \/ \/ .* unbindable - /],
    ['private', / \/ \/ [^-]*(?<!shared:\d+|master:\d+) - /],
    ['slave', / \/ \/ /],
    ['shared', / \/ \/ .*shared:/],
  ] as const) {
    const bundle = oci.bundle(['cat', '/proc/self/mountinfo'], (spec) => ({
      ...spec,
      linux: { ...spec.linux, rootfsPropagation },
    }));
    const { stdout, stderr, code } = await oci.command('run', '-b', bundle, 'a');
    assert.equal(code, 0, `${rootfsPropagation}: ${stderr}`);
    assert.match(stdout.split('\n')[0]?.replace(/ \S*rootfs /, ' / ') ?? '', word, rootfsPropagation);
  }
});

test('who asks for the state of a container in the making hears of the one that is made', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['true'], (spec) => ({
    ...spec,
    hooks: { createRuntime: [{ path: '/bin/sleep', args: ['sleep', '0.3'] }] },
  }));
  const created = oci.command('create', '-b', bundle, 'a');
  let state = await oci.command('state', 'a');
  while (state.code !== 0) state = await oci.command('state', 'a');
  assert.equal((JSON.parse(state.stdout) as { status: string }).status, 'created');
  assert.equal((await created).code, 0);
});

test('names that start with a dot are nobody’s', { skip }, async () => {
  await using oci = new Oci();
  for (const id of ['.', '..', '.foo', 'foo bar', 'foo/bar'])
    assert.match((await oci.command('state', id)).stderr, /invalid container ID format/);
});

test('the host name is no sysctl', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['true'], (spec) => ({
    ...spec,
    linux: { ...spec.linux, sysctl: { 'kernel.hostname': 'x' } },
  }));
  assert.match((await oci.command('run', '-b', bundle, 'a')).stderr, /conflicts with the OCI .*hostname/);
});
