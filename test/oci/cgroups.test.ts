import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ociCgroupSuite } from '../support/oci-cgroup-suite.ts';
import { Oci } from '../support/oci.ts';

ociCgroupSuite();

test('without systemd its driver says that there is none, and nothing is left', async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['true'], (spec) => ({ ...spec, linux: { ...spec.linux, cgroupsPath: 'a.slice:b:c' } }));
  const { code, stderr } = await oci.command('--systemd-cgroup', 'run', '-b', bundle, 'a');
  assert.equal(code, 1);
  assert.match(stderr, /failed to connect to dbus/);
  assert.match((await oci.command('state', 'a')).stderr, /does not exist/);
  const path = oci.bundle(['true'], (spec) => ({ ...spec, linux: { ...spec.linux, cgroupsPath: '/a/b' } }));
  assert.match(
    (await oci.command('--systemd-cgroup', 'run', '-b', path, 'a')).stderr,
    /expected cgroupsPath to be of format \\?"slice:prefix:name\\?"/,
  );
});
