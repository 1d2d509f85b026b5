/** Devices, names, policies of memory, links of the host. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { LinuxCapabilities, LinuxDevice, Spec } from '../../src/spec/runtime.ts';
import { Oci } from '../support/oci.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const mapped = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
const devices: LinuxDevice[] = [
  { path: '/dev/block', type: 'b', major: 1, minor: 5, fileMode: 0o157, uid: 10, gid: 11 },
  { path: '/dev/sub/pipe', type: 'p', fileMode: 0o640 },
  { path: '/elsewhere/null/', type: 'u', major: 1, minor: 3 },
  // Takes the place of the one that all containers have.
  { path: '/dev/zero', type: 'c', major: 1, minor: 5, fileMode: 0o600 },
];
const look = [
  'sh',
  '-c',
  'stat -c "%n %F %a %u:%g %t:%T" /dev/block /dev/sub/pipe /elsewhere/null /dev/zero /dev/null; echo x > /dev/null && echo written; ls -l /dev',
];
const expected = [
  '/dev/block block special file 157 10:11 1:5',
  '/dev/sub/pipe fifo 640 0:0 0:0',
  '/elsewhere/null character special file 666 0:0 1:3',
  '/dev/zero character special file 600 0:0 1:5',
  '/dev/null character special file 666 0:0 1:3',
  'written',
];

test('nodes are of the type, number, mode and owner that the config says, in a user namespace, too', {
  skip,
}, async () => {
  await using oci = new Oci();
  chmodSync(oci.directory, 0o755);
  const base = (spec: Spec): Spec => ({
    ...spec,
    root: { ...spec.root, readonly: false },
    linux: { ...spec.linux, devices },
  });
  const plain = await oci.command('run', '-b', oci.bundle(look, base), 'a');
  assert.deepEqual(plain.stdout.split('\n').slice(0, 6), expected, plain.stderr);
  for (const link of ['fd -> /proc/self/fd', 'stdin -> /proc/self/fd/0', 'ptmx -> pts/ptmx'])
    assert.ok(plain.stdout.includes(link));
  const inUser = oci.bundle(look, (spec) => {
    const { linux, ...rest } = base(spec);
    const namespaces = [...(linux?.namespaces ?? []), { type: 'user' as const }];
    return { ...rest, linux: { ...linux, namespaces, uidMappings: mapped, gidMappings: mapped } };
  });
  execFileSync('chown', ['-R', '100000:100000', join(inUser, 'rootfs')]);
  const user = await oci.command('run', '-b', inUser, 'b');
  assert.deepEqual(user.stdout.split('\n').slice(0, 6), expected, user.stderr);
});

test('links of the host move in with their addresses, under new names', { skip }, async () => {
  await using oci = new Oci();
  execFileSync('ip', ['link', 'add', 'moved0', 'type', 'veth', 'peer', 'name', 'peer0']);
  execFileSync('ip', ['addr', 'add', '10.99.8.7/24', 'broadcast', '10.99.8.250', 'dev', 'moved0']);
  execFileSync('ip', ['addr', 'add', '10.99.9.7/24', 'dev', 'moved0']);
  execFileSync('ip', ['-6', 'addr', 'add', 'fd00:99::7/64', 'dev', 'moved0']);
  execFileSync('ip', ['link', 'set', 'moved0', 'mtu', '1400']);
  const bundle = oci.bundle(['/bin/busybox', 'ip', 'addr'], (spec) => ({
    ...spec,
    hooks: { createRuntime: [{ path: '/bin/true' }] },
    linux: { ...spec.linux, netDevices: { moved0: { name: 'inside0' }, peer0: {} } },
  }));
  const { code, stdout, stderr } = await oci.command('run', '-b', bundle, 'n');
  assert.equal(code, 0, stderr);
  assert.match(stdout, /inside0@peer0: <[^>]*UP[^>]*> mtu 1400/);
  assert.match(stdout, /inet 10\.99\.8\.7\/24 brd 10\.99\.8\.250 scope global inside0/);
  assert.match(stdout, /inet 10\.99\.9\.7\/24 scope global inside0/);
  assert.match(stdout, /inet6 fd00:99::7\/64 scope global/);
  assert.match(
    (await oci.command('run', '-b', bundle, 'n')).stderr,
    /moving the network device moved0: finding it: .*ENODEV/,
  );
});

test('names, sysctls without a /proc, and the memory policy', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['sh', '-c', 'hostname; /bin/busybox head -n 1 /proc/self/numa_maps'], (spec) => ({
    ...spec,
    hostname: 'named',
    linux: { ...spec.linux, memoryPolicy: { mode: 'MPOL_BIND', nodes: '0', flags: ['MPOL_F_STATIC_NODES'] } },
  }));
  const { stdout, stderr } = await oci.command('run', '-b', bundle, 'p');
  assert.match(stdout, /^named\n.* bind=static:0 /, stderr);
  const noProc = oci.bundle(
    ['sh', '-c', 'mount -t proc proc /proc && cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax'],
    (spec) => ({
      ...spec,
      process: { ...spec.process, user: { uid: 0, gid: 0 }, cwd: '/', capabilities: all(spec) },
      mounts: (spec.mounts ?? []).filter((m) => m.destination !== '/proc'),
      linux: {
        ...spec.linux,
        sysctl: { 'net.ipv4.ip_forward': '1', 'kernel/msgmax': '8193' },
        maskedPaths: [],
        readonlyPaths: [],
      },
    }),
  );
  const set = await oci.command('run', '-b', noProc, 's');
  assert.equal(set.stdout, '1\n8193\n', set.stderr);
});

function all(spec: Spec): LinuxCapabilities {
  const sets = spec.process?.capabilities ?? {};
  return Object.fromEntries(
    Object.entries(sets).map(([set, names]) => [set, [...(names as string[]), 'CAP_SYS_ADMIN']]),
  );
}
