/** keelson-oci with systemd's driver, where systemd is process 1. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LinuxResources, Spec } from '../../../src/spec/runtime.ts';
import { Oci, ociBinary, withCapability } from '../../support/oci.ts';

const v2 = existsSync('/sys/fs/cgroup/cgroup.controllers');

function show(unit: string, ...properties: string[]): Record<string, string> {
  const text = execFileSync('systemctl', ['show', unit, ...properties.flatMap((name) => ['-p', name])], {
    encoding: 'utf8',
  });
  return Object.fromEntries(
    text
      .trim()
      .split('\n')
      .map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string]),
  );
}

const directory = (controller: string, path: string): string =>
  v2 ? join('/sys/fs/cgroup', path) : join('/sys/fs/cgroup', controller, path);

const limited = (cgroupsPath: string, resources: LinuxResources, more: Partial<Spec> = {}) => {
  return (spec: Spec): Spec => ({ ...spec, ...more, linux: { ...spec.linux, cgroupsPath, resources } });
};

before(async () => {
  // The planner's first start takes longer here than a front has patience for.
  await using oci = new Oci();
  for (let tries = 0; (await oci.command('--version')).code !== 0; tries++) assert.ok(tries < 10, 'no planner');
});

test('a container is a scope in its slice, with its limits as properties, through update to delete', async () => {
  await using oci = new Oci();
  const resources = {
    memory: { limit: 64 << 20 },
    cpu: { shares: 100, quota: 50000, period: 100000 },
    pids: { limit: 20 },
  };
  const bundle = oci.bundle(['sleep', '1000'], limited('machine-a.slice:pre:one', resources));
  const { code, stderr } = await oci.command('--systemd-cgroup', 'run', '-d', '-b', bundle, 'one');
  assert.equal(code, 0, stderr);
  const path = '/machine.slice/machine-a.slice/pre-one.scope';
  const memory = v2 ? 'MemoryMax' : 'MemoryLimit';
  assert.deepEqual(
    show('pre-one.scope', 'ControlGroup', 'Delegate', memory, 'CPUQuotaPerSecUSec', 'TasksMax', 'DevicePolicy'),
    {
      ControlGroup: path,
      Delegate: 'yes',
      [memory]: String(64 << 20),
      CPUQuotaPerSecUSec: '500ms',
      TasksMax: '20',
      DevicePolicy: 'strict',
    },
  );
  const pid = String((await oci.state('one'))['pid']);
  for (const controller of ['memory', 'pids', 'freezer'])
    assert.equal(readFileSync(join(directory(controller, path), 'cgroup.procs'), 'utf8').trim(), pid, controller);
  assert.equal(
    (await oci.command('--systemd-cgroup', 'update', '--memory', '80M', '--pids-limit', '30', 'one')).code,
    0,
  );
  assert.deepEqual(show('pre-one.scope', memory, 'TasksMax'), { [memory]: String(80 << 20), TasksMax: '30' });
  assert.equal(readFileSync(join(directory('pids', path), 'pids.max'), 'utf8').trim(), '30');
  assert.equal((await oci.command('--systemd-cgroup', 'delete', '-f', 'one')).code, 0);
  assert.equal(existsSync(directory('pids', path)), false);
  assert.equal(show('pre-one.scope', 'LoadState')['LoadState'], 'not-found');
});

test('a failed unit of the same name is in nobody’s way, and annotations are properties', async () => {
  await using oci = new Oci();
  const annotations = { 'org.systemd.property.RuntimeMaxSec': '1', 'org.systemd.property.TimeoutStopSec': 'uint64 1' };
  const short = oci.bundle(['sleep', '1000'], limited('system.slice:pre:two', {}, { annotations }));
  assert.equal((await oci.command('--systemd-cgroup', 'run', '-d', '-b', short, 'two')).code, 0);
  while ((await oci.state('two'))['status'] !== 'stopped') await sleep(200);
  assert.equal(show('pre-two.scope', 'Result')['Result'], 'timeout');
  const again = oci.bundle(['true'], limited('system.slice:pre:two', {}));
  const { code, stderr } = await oci.command('--systemd-cgroup', 'run', '-b', again, 'three');
  assert.equal(code, 0, stderr);
  assert.equal(show('pre-two.scope', 'LoadState')['LoadState'], 'not-found');
});

test('a user’s container is a scope of the user’s own manager, which also lets exec in', {
  skip: v2 ? false : 'v1 is not delegated to users; the machine with v2 runs it',
}, async () => {
  await using oci = new Oci();
  const limits = { memory: { limit: 64 << 20 }, pids: { limit: 30 } };
  const mapping = (hostID: number) => [{ containerID: 0, hostID, size: 1 }];
  const bundle = oci.bundle(['sleep', '1000'], (spec) => {
    const kept = (spec.linux?.namespaces ?? []).filter((n) => n.type !== 'network');
    const namespaces = [...kept, { type: 'user' as const }];
    const maps = { uidMappings: mapping(1000), gidMappings: mapping(1000) };
    const mounts = (spec.mounts ?? []).filter((m) => m.type !== 'sysfs' && m.type !== 'cgroup');
    const noGroup = mounts.map((m) => ({ ...m, options: m.options?.filter((word) => word !== 'gid=5') ?? [] }));
    const linux = { ...spec.linux, ...maps, namespaces, cgroupsPath: 'user.slice:pre:five', resources: limits };
    return { ...spec, mounts: noGroup, linux };
  });
  execFileSync('chown', ['-R', '1000:1000', oci.directory]);
  const path = '/sys/fs/cgroup/user.slice/user-manager.service/user.slice/pre-five.scope';
  const script = `oci="${ociBinary} --root /run/user/1000/oci --systemd-cgroup"
    for i in 1 2 3 4 5; do $oci --version > /dev/null 2>&1 && break; done
    $oci run -d -b ${bundle} five > /dev/null
    cat ${path}/memory.max ${path}/pids.max
    $oci exec five cat /proc/self/cgroup
    $oci update --pids-limit 40 five
    cat ${path}/pids.max
    $oci delete -f five`;
  // In a session, so to speak: a service of the user's manager.
  const output = join(oci.directory, 'output');
  const words = ['--user', '-q', '--setenv=XDG_RUNTIME_DIR=/run/user/1000', '--setenv=PATH=/usr/bin:/bin'];
  execFileSync('systemd-run', [...words, 'sh', '-c', `(${script}; echo done) > ${output} 2>&1`], {
    uid: 1000,
    gid: 1000,
    env: { XDG_RUNTIME_DIR: '/run/user/1000', PATH: process.env['PATH'] },
  });
  const printed = () => (existsSync(output) ? readFileSync(output, 'utf8') : '');
  while (!printed().endsWith('done\n')) await sleep(500);
  assert.equal(printed(), `${64 << 20}\n30\n0::/\n40\ndone\n`);
  assert.equal(existsSync(path), false);
});

test('devices are guarded, also after systemd has read its units again', async () => {
  await using oci = new Oci();
  const guarded = limited('system.slice:pre:four', { devices: [{ allow: false }] });
  const bundle = oci.bundle(['sleep', '1000'], (spec) => withCapability(guarded(spec), 'CAP_MKNOD'));
  assert.equal((await oci.command('--systemd-cgroup', 'run', '-d', '-b', bundle, 'four')).code, 0);
  execFileSync('systemctl', ['daemon-reload']);
  const look = 'cat /dev/null && mknod /dev/x c 1 11 && echo made && cat /dev/x';
  const { code, stdout, stderr } = await oci.command('exec', 'four', 'sh', '-c', look);
  assert.equal(stdout, 'made\n', stderr);
  assert.notEqual(code, 0);
  assert.match(stderr, /\/dev\/x.*not permitted/);
});
