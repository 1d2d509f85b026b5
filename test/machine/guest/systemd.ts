/** keelson-oci with systemd's driver, where systemd is process 1. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import type { LinuxResources, Spec } from '../../../src/spec/runtime.ts';
import { Oci } from '../../support/oci.ts';

const v2 = existsSync('/sys/fs/cgroup/cgroup.controllers');

function show(unit: string, ...properties: string[]): Record<string, string> {
  const text = execFileSync('systemctl', ['show', unit, ...properties.flatMap((name) => ['-p', name])], {
    encoding: 'utf8',
  });
  return Object.fromEntries(text.split('\n').map((line) => line.split(/=(.*)/s).slice(0, 2) as [string, string]));
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
  while ((await oci.state('two'))['status'] !== 'stopped') await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(show('pre-two.scope', 'Result')['Result'], 'timeout');
  const again = oci.bundle(['true'], limited('system.slice:pre:two', {}));
  const { code, stderr } = await oci.command('--systemd-cgroup', 'run', '-b', again, 'three');
  assert.equal(code, 0, stderr);
  assert.equal(show('pre-two.scope', 'LoadState')['LoadState'], 'not-found');
});

test('devices are guarded, also after systemd has read its units again', async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['sleep', '1000'], limited('system.slice:pre:four', { devices: [{ allow: false }] }));
  assert.equal((await oci.command('--systemd-cgroup', 'run', '-d', '-b', bundle, 'four')).code, 0);
  execFileSync('systemctl', ['daemon-reload']);
  const look = 'cat /dev/null && mknod /dev/x c 1 11 && cat /dev/x';
  const { code, stderr } = await oci.command('exec', 'four', 'sh', '-c', look);
  assert.notEqual(code, 0);
  assert.match(stderr, /\/dev\/x.*not permitted/);
});
