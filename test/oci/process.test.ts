/** keelson-oci's process: who is told of it, and by which descriptors. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import type { Spec } from '../../src/spec/runtime.ts';
import { Oci } from '../support/oci.ts';
import { knock, pidfdKiller, say, seccompAgent, serviceManager } from '../support/unix-peer.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const ENOMEDIUM = 123;

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(20)) if (await holds()) return;
  assert.fail(`not within 10 s: ${what}`);
}

const notifying =
  (listenerPath: string) =>
  (spec: Spec): Spec => ({
    ...spec,
    root: { path: 'rootfs' },
    linux: {
      ...spec.linux,
      seccomp: {
        defaultAction: 'SCMP_ACT_ALLOW',
        listenerPath,
        listenerMetadata: 'for the agent',
        syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_NOTIFY' }],
      },
    },
  });

test('a seccomp agent is sent the listener and the state, by create and by exec', { skip }, async () => {
  await using oci = new Oci();
  const socket = join(oci.directory, 'agent');
  await using agent = await seccompAgent(socket, 2, ENOMEDIUM);
  const bundle = oci.bundle(['sh', '-c', 'mkdir /tmp/a 2>/tmp/said; sleep 100'], notifying(socket));
  assert.deepEqual(await oci.command('create', '-b', bundle, 'n'), { code: 0, stdout: '', stderr: '' });
  const { pid } = await oci.state('n');
  await until('the agent has heard', () => agent.heard.length === 1);
  const created = JSON.parse(agent.heard[0] ?? '') as Record<string, unknown> & { state: Record<string, unknown> };
  assert.deepEqual(
    { ...created, state: undefined },
    {
      ociVersion: created['ociVersion'],
      fds: ['seccompFd'],
      pid,
      metadata: 'for the agent',
      state: undefined,
    },
  );
  assert.deepEqual(
    {
      id: created.state['id'],
      status: created.state['status'],
      pid: created.state['pid'],
      bundle: created.state['bundle'],
    },
    { id: 'n', status: 'creating', pid, bundle },
  );
  assert.equal((await oci.command('start', 'n')).code, 0);
  const said = join(bundle, 'rootfs/tmp/said');
  await until(
    'its call has been refused',
    () => existsSync(said) && /No medium found/.test(readFileSync(said, 'utf8')),
  );
  const exec = await oci.command('exec', 'n', 'mkdir', '/tmp/b');
  assert.match(exec.stderr, /No medium found/);
  await agent.ended;
  const joined = JSON.parse(agent.heard[1] ?? '') as { pid: number; state: Record<string, unknown> };
  assert.notEqual(joined.pid, pid);
  assert.deepEqual([joined.state['status'], joined.state['pid']], ['running', pid]);
});

test('without its agent a container is not made', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['true'], notifying(join(oci.directory, 'nobody')));
  assert.match((await oci.command('run', '-b', bundle, 'n')).stderr, /failed to connect with seccomp agent/);
  assert.match((await oci.command('state', 'n')).stderr, /does not exist/);
});

test('READY=1 is passed on to the service manager with the pid it is to watch, and start waits for it', {
  skip,
}, async () => {
  await using oci = new Oci();
  const path = join(oci.directory, 'manager');
  await using manager = await serviceManager(path, 3);
  const env = { NOTIFY_SOCKET: path };
  const inside = 'echo $NOTIFY_SOCKET; ls /run/notify; exec sleep 100';
  const bundle = oci.bundle(['sh', '-c', `(${inside}) >/tmp/seen`], (spec) => ({ ...spec, root: { path: 'rootfs' } }));
  assert.equal((await oci.with({ env }, 'create', '-b', bundle, 's')).code, 0);
  const { pid } = await oci.state('s');
  let started = false;
  const start = oci.with({ env }, 'start', 's').then((result) => {
    started = true;
    return result;
  });
  const seen = join(bundle, 'rootfs/tmp/seen');
  await until('it runs', () => existsSync(seen) && readFileSync(seen, 'utf8').split('\n').length > 2);
  assert.equal(readFileSync(seen, 'utf8'), '/run/notify/notify.sock\nnotify.sock\n');
  const socket = join(oci.root, 's/notify/notify.sock');
  await say(socket, 'STATUS=not yet');
  assert.equal(started, false);
  await say(socket, 'READY=1\nSTATUS=now');
  assert.deepEqual(await start, { code: 0, stdout: '', stderr: '' });
  await manager.ended;
  assert.deepEqual(manager.heard, ['READY=1\n', `MAINPID=${String(pid)}\n`, 'BARRIER=1']);
});

test('a service that ends before it is ready does not keep its starter waiting', { skip }, async () => {
  await using oci = new Oci();
  const path = join(oci.directory, 'manager');
  await using manager = await serviceManager(path, 1);
  const { code } = await oci.with(
    { env: { NOTIFY_SOCKET: path } },
    'run',
    '-b',
    oci.bundle(['sh', '-c', 'exit 3']),
    's',
  );
  assert.equal(code, 3);
  assert.deepEqual(manager.heard, []);
});

test('--pidfd-socket is sent the process, of create and of exec', { skip }, async () => {
  await using oci = new Oci();
  const path = join(oci.directory, 'pidfd');
  await using killer = await pidfdKiller(path, 9);
  const bundle = oci.bundle(['sleep', '100']);
  assert.equal((await oci.command('create', '-b', bundle, '--pidfd-socket', path, 'p')).code, 0);
  await knock(path);
  await killer.ended;
  await until('it is dead', async () => (await oci.state('p'))['status'] === 'stopped');
  assert.equal((await oci.command('run', '-d', '-b', bundle, 'q')).code, 0);
  const other = join(oci.directory, 'pidfd2');
  await using second = await pidfdKiller(other, 9);
  const exec = oci.command('exec', '--pidfd-socket', other, 'q', 'sleep', '100');
  await until('it runs', async () => (await oci.command('ps', '-f', 'json', 'q')).stdout.includes(','));
  await knock(other);
  assert.equal((await exec).code, 137);
  await second.ended;
  assert.equal((await oci.state('q'))['status'], 'running');
});

test('a created container ends when it is told to, and has nothing but what it waits on', { skip }, async () => {
  await using oci = new Oci();
  assert.equal((await oci.command('create', '-b', oci.bundle(['sleep', '100']), 'c')).code, 0);
  assert.equal((await oci.command('kill', 'c', 'TERM')).code, 0);
  await until('it has ended', async () => (await oci.state('c'))['status'] === 'stopped');
});

test('exec has the processors that its process asks for, and never those of the caller', { skip }, async () => {
  await using oci = new Oci();
  assert.equal((await oci.command('run', '-d', '-b', oci.bundle(['sleep', '100']), 'a')).code, 0);
  const show = ['grep', 'Cpus_allowed_list', '/proc/self/status'];
  const all = (await oci.command('exec', 'a', ...show)).stdout;
  const file = join(oci.directory, 'process.json');
  const process = { cwd: '/', args: ['/bin/grep', ...show.slice(1)], execCPUAffinity: { initial: '0', final: '0' } };
  writeFileSync(file, JSON.stringify(process));
  const { stdout, stderr } = await oci.command('--debug', 'exec', '--process', file, 'a');
  assert.match(stdout, /:\t0\n/);
  assert.match(stderr, /affinity: 0x1"/);
  const status = { cwd: '/', args: ['/bin/grep', '-E', 'CapBnd|Umask', '/proc/self/status'] };
  writeFileSync(file, JSON.stringify(status));
  const own = await oci.command('exec', 'a', 'grep', '-E', 'CapBnd|Umask', '/proc/self/status');
  assert.equal((await oci.command('exec', '--process', file, 'a')).stdout, own.stdout, 'it takes after the container');
  assert.equal((await oci.command('exec', 'a', ...show)).stdout, all);
});

test('who may enter the working directory enters it; of two values of a variable the last counts', {
  skip,
}, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['sh', '-c', 'pwd; echo $A; env | grep -c ^A='], (spec) => ({
    ...spec,
    ...(spec.process && {
      process: { ...spec.process, cwd: '/closed', user: { uid: 42, gid: 42 }, env: ['PATH=/bin', 'A=1', 'A=2'] },
    }),
    mounts: [...(spec.mounts ?? []), { destination: '/closed', type: 'tmpfs', source: 'tmpfs', options: ['mode=700'] }],
  }));
  assert.equal((await oci.command('run', '-b', bundle, 'w')).stdout, '/closed\n2\n1\n');
});

test("hooks have the caller's environment, the bundle, and words for how they failed", { skip }, async () => {
  await using oci = new Oci();
  const out = join(oci.directory, 'out');
  const hooked = (script: string): string =>
    oci.bundle(['true'], (spec) => ({
      ...spec,
      annotations: { 'run.oci.hooks.stdout': out },
      hooks: { createRuntime: [{ path: '/bin/sh', args: ['sh', '-c', script] }] },
    }));
  const told = hooked('echo $TOLD $PWD');
  assert.equal((await oci.with({ env: { TOLD: 'by the caller' } }, 'run', '-b', told, 'h')).code, 0);
  assert.equal(readFileSync(out, 'utf8'), `by the caller ${told}\n`);
  const failed = await oci.command('run', '-b', hooked('echo why >&2; exit 4'), 'h');
  assert.match(failed.stderr, /error running createRuntime hook #0: exit status 4, stdout: , stderr: why/);
  const killed = await oci.command('run', '-b', hooked('kill -9 $$'), 'h');
  assert.match(killed.stderr, /createRuntime hook #0: signal: killed/);
});

test('the command line answers as runc does', { skip }, async () => {
  await using oci = new Oci();
  assert.match(
    (await oci.command('--version')).stdout,
    /^keelson-oci version \d+\.\d+\.\d+\ncommit: \w+\nspec: 1\.\d\.\d\n/,
  );
  assert.match((await oci.command('create', '-h')).stdout, /^NAME:\n {3}keelson-oci create - /);
  const none = await oci.command('start');
  assert.match(none.stderr, /keelson-oci: \\"start\\" requires exactly 1 argument\(s\)/);
  assert.match(none.stdout, /^Incorrect Usage/);
  assert.match((await oci.command('exec', 'nobody', 'true')).stderr, /exec failed: container does not exist/);
});
