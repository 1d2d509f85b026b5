/** keelson-oci from create to delete, as callers of an OCI runtime use it, on the real kernel. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { Oci, ociBinary, planners } from '../support/oci.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 5000; Date.now() < end; await sleep(20)) if (await holds()) return;
  assert.fail(`not within 5 s: ${what}`);
}

test('run passes streams, arguments and the exit code', { skip }, async () => {
  await using oci = new Oci();
  const cat = await oci.with({ input: 'through' }, 'run', '-b', oci.bundle(['cat']), 'a');
  assert.deepEqual(cat, { code: 0, stdout: 'through', stderr: '' });
  assert.equal((await oci.command('run', '-b', oci.bundle(['sh', '-c', 'exit 7']), 'b')).code, 7);
  assert.equal((await oci.command('state', 'a')).code, 1, 'nothing is left of it');
});

test('create, start, exec, kill, delete: each state is what it should be', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['sleep', '100']);
  const created = await oci.with({ cwd: oci.directory }, 'create', '-b', bundle, '--pid-file', 'pid', 'c1');
  assert.deepEqual(created, { code: 0, stdout: '', stderr: '' });
  const pid = Number(readFileSync(join(oci.directory, 'pid'), 'utf8'));
  const state = await oci.state('c1');
  assert.equal(state['status'], 'created');
  assert.equal(state['pid'], pid);
  assert.equal(state['bundle'], bundle);
  assert.match((await oci.command('create', '-b', bundle, 'c1')).stderr, /container with given ID already exists/);
  assert.equal((await oci.command('start', 'c1')).code, 0);
  assert.match((await oci.command('start', 'c1')).stderr, /cannot start an already running container/);
  assert.equal((await oci.state('c1'))['status'], 'running');
  assert.match((await oci.command('exec', 'c1', 'ps')).stdout, /1 0\s+sleep 100/);
  assert.equal((await oci.command('exec', 'c1', 'sh', '-c', 'exit 5')).code, 5);
  const missing = await oci.command('exec', 'c1', 'nosuch');
  assert.equal(missing.code, 255);
  assert.match(missing.stderr, /executable file not found in \$PATH/);
  assert.equal(
    (
      await oci.command(
        'exec',
        '-u',
        '1000:1000',
        '--cwd',
        '/tmp',
        '-e',
        'A=b',
        'c1',
        'sh',
        '-c',
        'id -u; pwd; echo $A',
      )
    ).stdout,
    '1000\n/tmp\nb\n',
  );
  assert.match((await oci.command('delete', 'c1')).stderr, /cannot delete container c1 that is not stopped: running/);
  assert.equal((await oci.command('kill', 'c1', 'KILL')).code, 0);
  await until('it has ended', async () => (await oci.state('c1'))['status'] === 'stopped');
  assert.equal((await oci.command('delete', 'c1')).code, 0);
  assert.match((await oci.command('state', 'c1')).stderr, /container does not exist/);
  assert.equal((await oci.command('delete', '-f', 'c1')).code, 0, 'forced, the unknown is fine');
});

test('pause stops everything in the container until resume', { skip }, async () => {
  await using oci = new Oci();
  assert.equal((await oci.command('run', '-d', '-b', oci.bundle(['sleep', '100']), 'p')).code, 0);
  assert.equal((await oci.command('pause', 'p')).code, 0);
  assert.equal((await oci.state('p'))['status'], 'paused');
  assert.equal((await oci.command('exec', 'p', 'true')).code, 255);
  assert.equal((await oci.command('resume', 'p')).code, 0);
  assert.equal((await oci.state('p'))['status'], 'running');
});

test('a config that breaks the specification is refused before anything is made', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['true']);
  writeFileSync(
    join(bundle, 'config.json'),
    readFileSync(join(bundle, 'config.json'), 'utf8').replace('"cwd": "/"', '"cwd": "x"'),
  );
  const log = join(oci.directory, 'log');
  const { code, stderr } = await oci.command('--log', log, '--log-format', 'json', 'create', '-b', bundle, 'bad');
  assert.equal(code, 1);
  assert.match(stderr, /process\.cwd/);
  const line = JSON.parse(readFileSync(log, 'utf8')) as Record<string, string>;
  assert.equal(line['level'], 'error');
  assert.match(line['msg'] ?? '', /process\.cwd.*"x"/);
  assert.equal(existsSync(join(oci.root, 'bad')), false);
  const host = oci.bundle(['true'], (spec) => ({ ...spec, linux: { ...spec.linux, sysctl: { 'kernel.panic': '1' } } }));
  assert.match(
    (await oci.command('run', '-b', host, 'bad')).stderr,
    /kernel\.panic.* is not in a separate kernel namespace/,
  );
});

test('a program that is not there fails create, and nothing stays', { skip }, async () => {
  await using oci = new Oci();
  const { code, stderr } = await oci.command('create', '-b', oci.bundle(['nosuch']), 'x');
  assert.equal(code, 1);
  assert.match(stderr, /unable to start container process: exec: \\?"nosuch\\?": executable file not found in \$PATH/);
  assert.match((await oci.command('state', 'x')).stderr, /container does not exist/);
});

test('what may not be executed fails create; what turns out so later says it itself and exits with 255', {
  skip,
}, async () => {
  await using oci = new Oci();
  for (const file of ['/etc/plain', '/etc']) {
    const bundle = oci.bundle([file]);
    writeFileSync(join(bundle, 'rootfs/etc/plain'), 'text', { mode: 0o644 });
    const { code, stderr } = await oci.command('create', '-b', bundle, 'x');
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`exec: .{1,2}${file}.{1,2}: permission denied`));
  }
  const bundle = oci.bundle(['/script']);
  writeFileSync(join(bundle, 'rootfs/script'), '#!/no/interpreter\n', { mode: 0o755 });
  // The container's process writes to the streams that `create` was given.
  const caller = `"$0" --root "$1" create -b "$2" y && "$0" --root "$1" start y`;
  const { stdout, stderr } = await promisify(execFile)('sh', ['-c', caller, ociBinary, oci.root, bundle]);
  assert.deepEqual([stdout, stderr], ['', 'exec /script: no such file or directory\n']);
});

test('hooks of all kinds run in their order, with the state on standard input', { skip }, async () => {
  await using oci = new Oci();
  const log = join(oci.directory, 'hooks');
  const hook = (name: string) => [{ path: '/bin/sh', args: ['sh', '-c', `echo ${name} $(cat) >> ${log}`] }];
  const inside = [{ path: '/bin/sh', args: ['sh', '-c', 'echo startContainer $(cat) >> /tmp/hooks'] }];
  const bundle = oci.bundle(['sh', '-c', 'cat /tmp/hooks'], (spec) => ({
    ...spec,
    root: { path: 'rootfs', readonly: false },
    hooks: {
      prestart: hook('prestart'),
      createRuntime: hook('createRuntime'),
      createContainer: hook('createContainer'),
      startContainer: inside,
      poststart: hook('poststart'),
      poststop: hook('poststop'),
    },
  }));
  const { code, stdout, stderr } = await oci.command('run', '-b', bundle, 'h');
  assert.equal(code, 0, stderr);
  assert.match(stdout, /startContainer \{.*"id":"h"/);
  const lines = readFileSync(log, 'utf8').trim().split('\n');
  assert.deepEqual(
    lines.map((line) => line.split(' ')[0]),
    ['prestart', 'createRuntime', 'createContainer', 'poststart', 'poststop'],
  );
  const states = lines.map((line) => JSON.parse(line.slice(line.indexOf('{'))) as Record<string, unknown>);
  assert.deepEqual(
    states.map((state) => state['status']),
    ['created', 'creating', 'creating', 'running', 'stopped'],
  );
  // A hook in the container's namespaces is told the pid that the process has there.
  assert.deepEqual(
    states.map((state) => ('pid' in state ? Number(state['pid']) > 1 : undefined)),
    [true, true, false, true, undefined],
  );
});

test('a hook that fails, or takes too long, fails the creation', { skip }, async () => {
  await using oci = new Oci();
  const failing = oci.bundle(['true'], (spec) => ({ ...spec, hooks: { createRuntime: [{ path: '/bin/false' }] } }));
  assert.match(
    (await oci.command('run', '-b', failing, 'h')).stderr,
    /error running createRuntime hook #0: exit status 1, stdout: /,
  );
  const slow = oci.bundle(['true'], (spec) => ({
    ...spec,
    hooks: { createContainer: [{ path: '/bin/sleep', args: ['sleep', '60'], timeout: 1 }] },
  }));
  assert.match(
    (await oci.command('run', '-b', slow, 'h')).stderr,
    /createContainer hook #0: hook ran past specified timeout of 1.0s/,
  );
  assert.match((await oci.command('state', 'h')).stderr, /does not exist/);
});

test('callers at once start one planner, and a killed one is replaced', { skip }, async () => {
  await using oci = new Oci();
  for (const pid of planners()) process.kill(pid, 'SIGKILL');
  await until('the planner has gone', () => planners().length === 0);
  const results = await Promise.all(Array.from({ length: 8 }, () => oci.command('--version')));
  assert.ok(results.every(({ code }) => code === 0));
  assert.equal(planners().length, 1);
  const bundle = oci.bundle(['true']);
  const runs = await Promise.all(Array.from({ length: 8 }, (_, i) => oci.command('run', '-b', bundle, `r${i}`)));
  assert.deepEqual(
    runs.map(({ code, stderr }) => `${code}${stderr}`),
    Array(8).fill('0'),
  );
});

test('a working directory through a leaked descriptor is never leads out (CVE-2024-21626)', { skip }, async () => {
  await using oci = new Oci();
  for (let fd = 3; fd < 12; fd++) {
    const bundle = oci.bundle(['sh', '-c', 'pwd; ls; ls ..; ls ../..'], (spec) => ({
      ...spec,
      ...(spec.process && { process: { ...spec.process, cwd: `/proc/self/fd/${fd}` } }),
    }));
    const { code, stdout } = await oci.command('run', '-b', bundle, `fd${fd}`);
    // What still works is a directory of the container's own, its root or /dev; the host's has a /usr, and so have those above it.
    if (code === 0) assert.doesNotMatch(stdout, /^usr$/m, `descriptor ${fd}`);
  }
});

test('descriptors that are not to be preserved are closed', { skip }, async () => {
  await using oci = new Oci();
  const { stdout } = await oci.command('run', '-b', oci.bundle(['ls', '/proc/self/fd']), 'fds');
  assert.deepEqual(stdout.trim().split('\n'), ['0', '1', '2', '3'], 'the last one is of ls itself');
});
