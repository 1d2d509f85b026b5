/** What keelson-oci can't do it refuses: by the config's path before anything is made, or with the operation that the kernel refused. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import type { Mount, Spec } from '../../src/spec/runtime.ts';
import { nothingLeft } from '../support/faults.ts';
import { Oci } from '../support/oci.ts';

const withMount = (mount: Mount) => (spec: Spec) => ({ ...spec, mounts: [...(spec.mounts ?? []), mount] });
const withLinux = (linux: Spec['linux']) => (spec: Spec) => ({ ...spec, linux: { ...spec.linux, ...linux } });

test('a config that breaks the specification is refused before anything is made, by path, value and section', async () => {
  await using oci = new Oci();
  for (const [change, path, value, section] of [
    [(spec: Spec) => ({ ...spec, ociVersion: '7' }), 'ociVersion', '"7"', 'config.md'],
    [
      withLinux({ namespaces: [{ type: 'nonesuch' as 'pid' }] }),
      'linux.namespaces[0].type',
      '"nonesuch"',
      'config-linux.md#namespaces',
    ],
    [
      withLinux({ devices: [{ path: 'x', type: 'c', major: 1, minor: 1 }] }),
      'linux.devices[0].path',
      '"x"',
      'config-linux.md#devices',
    ],
    [
      withLinux({ resources: { memory: { limit: 1.5 } } }),
      'linux.resources.memory.limit',
      '1.5',
      'config-linux.md#memory',
    ],
    [withLinux({ sysctl: { '../../x': '1' } }), 'linux.sysctl["../../x"]', '"../../x"', 'config-linux.md'],
    [withLinux({ cgroupsPath: '/a/../../b' }), 'linux.cgroupsPath', '"/a/../../b"', 'config-linux.md'],
    [
      withLinux({ uidMappings: [{ containerID: 0, hostID: 0, size: 1 }] }),
      'linux.uidMappings',
      'user namespace',
      'config-linux.md#user-namespace-mappings',
    ],
    [(spec: Spec) => ({ ...spec, root: { path: 'nowhere' } }), 'root.path', 'nowhere', 'config.md#root'],
  ] as const) {
    const { code, stderr } = await oci.command('create', '-b', oci.bundle(['true'], change), 'faulty');
    assert.equal(code, 1);
    for (const part of [`config.json: ${path}: `, value, `OCI runtime-spec 1.3, ${section}`]) {
      assert.ok(stderr.replaceAll('\\"', '"').includes(part), `${part}: ${stderr}`);
    }
    assert.ok(!existsSync(oci.root) || readdirSync(oci.root).length === 0);
    await nothingLeft(oci, path);
  }
});

test('what the kernel refuses names what was done, the call, and the errno; and nothing stays', async () => {
  await using oci = new Oci();
  for (const [change, pattern] of [
    [withMount({ destination: '/x', type: 'nosuchfs', source: 'x' }), /mounting nosuchfs on \/x: fsopen: ENODEV/],
    [
      withMount({ destination: '/x', type: 'tmpfs', source: 'x', options: ['nosuchoption'] }),
      /mounting tmpfs on \/x: .*nosuchoption/,
    ],
    [
      withMount({ destination: '/x', type: 'bind', source: '/nonexistent', options: ['bind'] }),
      /\/nonexistent.*(ENOENT|no such file)/i,
    ],
    [
      withLinux({ namespaces: [{ type: 'mount' }, { type: 'uts' }, { type: 'network', path: '/nonexistent/net' }] }),
      /network namespace \/nonexistent\/net: .*ENOENT/,
    ],
    [
      withLinux({ namespaces: [{ type: 'mount' }, { type: 'uts' }, { type: 'network', path: '/etc/hostname' }] }),
      /network namespace \/etc\/hostname: .*EINVAL/,
    ],
  ] as const) {
    const root = (spec: Spec) => ({
      ...change(spec),
      root: { path: 'rootfs', readonly: false },
    });
    const { code, stderr } = await oci.command('create', '-b', oci.bundle(['true'], root), 'faulty');
    assert.equal(code, 1);
    assert.match(stderr, pattern);
    await nothingLeft(oci, String(pattern));
  }
});
