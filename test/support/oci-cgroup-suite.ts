/** What keelson-oci makes of control groups, on the version that this machine has. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LinuxResources, Spec } from '../../src/spec/runtime.ts';
import { Oci, withCapability } from './oci.ts';

const v2 = existsSync('/sys/fs/cgroup/cgroup.controllers');

/** A file of a group, by the controller that it is of on version 1. */
function file(controller: string, path: string, name: string): string {
  return v2 ? join('/sys/fs/cgroup', path, name) : join('/sys/fs/cgroup', controller, path, name);
}

const valueOf = (controller: string, path: string, name: string): string =>
  readFileSync(file(controller, path, name), 'utf8').trim();

const places: string[] = [];

/** A place for one container, which it is to have cleared when the tests are over. */
function place(name: string): string {
  const path = `/keelson-oci-test-${process.pid}/${name}`;
  places.push(path);
  return path;
}

const inGroup = (cgroupsPath: string, resources: LinuxResources = {}, more: Partial<Spec['linux']> = {}) => {
  return (spec: Spec): Spec => ({ ...spec, linux: { ...spec.linux, ...more, cgroupsPath, resources } });
};

const writable = (spec: Spec): Spec => ({
  ...spec,
  mounts: [
    ...(spec.mounts ?? []).filter((m) => m.type !== 'cgroup'),
    { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['nosuid', 'noexec', 'nodev'] },
  ],
});

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 20_000; Date.now() < end; await sleep(50)) if (await holds()) return;
  assert.fail(`not within 20 s: ${what}`);
}

async function running(oci: Oci, id: string, change: (spec: Spec) => Spec, args = ['sleep', '1000']): Promise<void> {
  const { code, stderr } = await oci.command('run', '-d', '-b', oci.bundle(args, change), id);
  assert.equal(code, 0, stderr);
}

export function ociCgroupSuite(): void {
  test('limits are in force from the start, and after each update with those that they depend on', async () => {
    await using oci = new Oci();
    const path = place('limits');
    await running(
      oci,
      'a',
      inGroup(path, {
        memory: { limit: 64 << 20 },
        cpu: { shares: 512, quota: 50000, period: 100000 },
        pids: { limit: 20 },
      }),
    );
    const update = async (...flags: string[]) => {
      const { code, stderr } = await oci.command('update', ...flags, 'a');
      assert.equal(code, 0, stderr);
    };
    const limit = () => valueOf('memory', path, v2 ? 'memory.max' : 'memory.limit_in_bytes');
    const bandwidth = () =>
      v2
        ? valueOf('cpu', path, 'cpu.max')
        : `${valueOf('cpu', path, 'cpu.cfs_quota_us')} ${valueOf('cpu', path, 'cpu.cfs_period_us')}`;
    assert.equal(limit(), String(64 << 20));
    assert.equal(valueOf('pids', path, 'pids.max'), '20');
    assert.equal(bandwidth(), '50000 100000');
    await update('--cpu-period', '50000');
    assert.equal(bandwidth(), '50000 50000', 'a period alone keeps the quota');
    await update('--cpu-quota', '10000');
    assert.equal(bandwidth(), '10000 50000');
    await update('--memory', '100M', '--memory-swap', '200M');
    assert.equal(limit(), String(100 << 20));
    await update('--memory', '300M', '--memory-swap', '300M');
    assert.equal(limit(), String(300 << 20), 'above what memory and swap were together');
    await update('--memory', '-1');
    await update('--pids-limit', '0');
    assert.equal(valueOf('pids', path, 'pids.max'), '1');
    const bad = await oci.with({ input: '{"cpu":{"idle":7}}' }, 'update', '-r', '-', 'a');
    assert.notEqual(bad.code, 0);
  });

  test('a group that is in use or frozen is refused, and stays as it was', async () => {
    await using oci = new Oci();
    const path = place('used');
    await running(oci, 'a', inGroup(path));
    const second = await oci.command('run', '-b', oci.bundle(['true'], inGroup(path)), 'b');
    assert.equal(second.code, 1);
    assert.match(second.stderr, /container's cgroup is not empty/);
    assert.equal((await oci.state('a'))['status'], 'running');
    assert.equal((await oci.command('delete', '-f', 'a')).code, 0);
    const directory = join(file('freezer', path, 'x'), '..');
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, v2 ? 'cgroup.freeze' : 'freezer.state'), v2 ? '1' : 'FROZEN');
    const frozen = await oci.command('run', '-b', oci.bundle(['true'], inGroup(path)), 'c');
    assert.match(frozen.stderr, /container's cgroup unexpectedly frozen/);
    rmdirSync(directory);
  });

  test('what the container made below its group goes with it, and exec can go there', async () => {
    await using oci = new Oci();
    const path = place('nested');
    await running(oci, 'a', (spec) => writable(inGroup(path)(spec)));
    const top = v2 ? '/sys/fs/cgroup' : '/sys/fs/cgroup/pids';
    const make = await oci.command('exec', 'a', 'sh', '-c', `mkdir -p ${top}/one/two`);
    assert.equal(make.code, 0, make.stderr);
    const below = v2 ? 'one/two' : 'pids:one/two';
    const inside = await oci.command('exec', '--cgroup', below, 'a', 'cat', '/proc/self/cgroup');
    assert.match(inside.stdout, /\/one\/two$/m, inside.stderr);
    assert.match((await oci.command('exec', '--cgroup', '..', 'a', 'true')).stderr, /bad sub cgroup path/);
    assert.notEqual((await oci.command('exec', '--cgroup', 'nowhere', 'a', 'true')).code, 0);
    assert.equal((await oci.command('delete', '-f', 'a')).code, 0);
    assert.equal(existsSync(join(file('pids', path, 'x'), '..')), false);
  });

  test('without a pid namespace all of the container can still be told and ended', async () => {
    await using oci = new Oci();
    const path = place('shared');
    const shared = (spec: Spec): Spec => {
      const namespaces = (spec.linux?.namespaces ?? []).filter((n) => n.type !== 'pid');
      return inGroup(path, {}, { namespaces })(spec);
    };
    await running(oci, 'a', shared, ['sh', '-c', 'sleep 1000 & sleep 1000 & exec sleep 1000']);
    const pids = async () => JSON.parse((await oci.command('ps', '-f', 'json', 'a')).stdout) as number[];
    await until('three processes', async () => (await pids()).length === 3);
    process.kill(Number((await oci.state('a'))['pid']), 'SIGKILL');
    await until('the first has ended', async () => (await oci.state('a'))['status'] === 'stopped');
    assert.equal((await pids()).length, 2);
    assert.equal((await oci.command('kill', 'a', 'KILL')).code, 0);
    await until('the others have', async () => (await pids()).length === 0);
    assert.equal((await oci.command('delete', 'a')).code, 0);
  });

  test('a container that is paused stays so through an update', async () => {
    await using oci = new Oci();
    await running(oci, 'a', inGroup(place('paused')));
    assert.equal((await oci.command('pause', 'a')).code, 0);
    assert.equal((await oci.command('update', '--pids-limit', '9', 'a')).code, 0);
    assert.equal((await oci.state('a'))['status'], 'paused');
    assert.equal((await oci.command('delete', '-f', 'a')).code, 0, 'forced, also what is paused');
  });

  test('events tell what is used and of processes that ran out of memory', async () => {
    await using oci = new Oci();
    const limit = 24 << 20;
    await running(oci, 'a', inGroup(place('events'), { memory: { limit, swap: limit } }));
    const once = JSON.parse((await oci.command('events', '--stats', 'a')).stdout) as Event;
    assert.equal(once.type, 'stats');
    assert.equal(once.data?.memory.usage.limit, limit);
    assert.ok((once.data?.cpu.usage.total ?? 0) > 0);
    assert.deepEqual(v2 ? Object.keys(once.data?.memory.psi ?? {}) : [], v2 ? ['some', 'full'] : []);
    const events = oci.command('events', '--interval', '200ms', 'a');
    await sleep(500);
    await oci.command('exec', 'a', 'sh', '-c', 'x=x; while :; do x=$x$x$x$x; done');
    await sleep(500);
    await oci.command('kill', 'a', 'KILL');
    const lines = (await events).stdout.trim().split('\n');
    const types = lines.map((line) => (JSON.parse(line) as Event).type);
    assert.ok(types.filter((type) => type === 'stats').length > 1);
    assert.ok(types.includes('oom'), lines.slice(-3).join('\n'));
  });

  test('devices that were not allowed cannot be opened, whoever makes them', async () => {
    await using oci = new Oci();
    const devices = [{ allow: false }, { allow: true, type: 'c' as const, major: 1, minor: 11, access: 'r' }];
    const guarded = inGroup(place('devices'), { devices });
    await running(oci, 'a', (spec) => withCapability(withCapability(guarded(spec), 'CAP_MKNOD'), 'CAP_SYSLOG'));
    const script = `head -c1 /dev/zero > /dev/null && mknod /dev/r c 1 11 && (: < /dev/r) && echo read
      (: > /dev/r) || echo no; mknod /dev/m c 1 1 && (: < /dev/m) || echo no`;
    const { stdout, stderr } = await oci.command('exec', 'a', 'sh', '-c', script);
    assert.equal(stdout, 'read\nno\nno\n', stderr);
  });

  test('no group is left of all these', () => {
    for (const path of places)
      for (const controller of ['memory', 'pids', 'freezer', 'devices', 'unified'])
        assert.equal(existsSync(join(file(controller, path, 'x'), '..')), false, `${controller} ${path}`);
  });
}

interface Event {
  readonly type: string;
  readonly data?: {
    readonly memory: { readonly usage: { readonly limit: number }; readonly psi?: object };
    readonly cpu: { readonly usage: { readonly total: number } };
  };
}
