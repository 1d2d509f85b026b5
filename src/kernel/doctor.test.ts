import assert from 'node:assert/strict';
import { test } from 'node:test';
import { examine, type Finding } from './doctor.ts';
import { type DoctorFacts, doctorFacts, presence } from './facts-doctor.ts';

const good: DoctorFacts = {
  kernel: { release: '6.12.1-amd64', major: 6, minor: 12 },
  arch: 'x86_64',
  uid: 0,
  euid: 0,
  egid: 0,
  capabilities: { effective: Array.from({ length: 41 }, (_, i) => i), bounding: [] },
  lastCapability: 40,
  inUserNamespace: false,
  namespaces: ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'time', 'user', 'uts'],
  cgroup: { mode: 'unified', v1: [], v2: { mountPoint: '/sys/fs/cgroup', root: '/', own: '/', controllers: [] } },
  filesystems: ['overlay'],
  userNamespaces: { possible: true },
  seccompActions: ['errno', 'allow'],
  lsms: ['landlock', 'apparmor'],
  apparmor: true,
  selinux: false,
  ipv6: true,
  subordinateIds: { uids: [], gids: [] },
  modules: { overlay: 'yes', nf_tables: 'module', bridge: 'module', veth: 'module' },
  ipForward: { v4: false, v6: false },
  cgroupParent: '/keelson',
  swapLimit: true,
  controllers: ['cpuset', 'cpu', 'io', 'memory', 'pids'],
};

const bad = (facts: DoctorFacts): Finding[] => examine(facts).filter((f) => f.status !== 'ok');
const names = (facts: DoctorFacts): string[] => bad(facts).map((f) => `${f.status} ${f.name}`);

test('a current machine lacks nothing for root', () => {
  assert.deepEqual(bad(good), []);
  for (const finding of examine(good)) assert.equal(finding.advice, '');
});

test('every finding that is not ok says what to do, but for what cannot be changed', () => {
  const poor = bad({
    ...good,
    kernel: { release: '5.4.0', major: 5, minor: 4 },
    namespaces: [],
    cgroup: { mode: 'none', v1: [] },
    seccompActions: [],
    ipv6: false,
    modules: { overlay: 'no', nf_tables: 'no', bridge: 'no', veth: 'no' },
    userNamespaces: { possible: false, why: 'the sysctl user.max_user_namespaces is 0' },
  });
  for (const finding of poor) assert.notEqual(finding.advice, '', finding.name);
  const status = (name: string) => poor.find((f) => f.name === name)?.status;
  assert.equal(status('mount API'), 'missing');
  assert.equal(status('id-mapped mounts'), 'warn');
  assert.equal(status('clone3'), undefined);
  assert.equal(status('mnt'), 'missing');
  assert.equal(status('seccomp'), 'missing');
  assert.equal(status('nftables'), 'warn');
  assert.match(
    poor.find((f) => f.name === 'user namespaces')?.advice ?? '',
    /sysctl -w user\.max_user_namespaces=15000/,
  );
});

test('an ordinary user: delegation, subordinate ids and their helpers', () => {
  const { cgroupParent: _, ...rest } = good;
  const user = { ...rest, uid: 1000, euid: 1000, capabilities: { effective: [], bounding: [] } };
  assert.deepEqual(names(user), ['warn delegation', 'warn subordinate ids', 'warn newuidmap']);
  const ids = { uids: [{ start: 100000, count: 65536 }], gids: [{ start: 100000, count: 65536 }] };
  const ready = {
    ...user,
    cgroupParent: '/user.slice/x/keelson',
    subordinateIds: { ...ids, newuidmap: '/usr/bin/newuidmap', newgidmap: '/usr/bin/newgidmap' },
  };
  assert.deepEqual(names(ready), []);
  assert.deepEqual(names({ ...ready, userNamespaces: { possible: false, why: 'x' } }), ['missing user namespaces']);
  assert.deepEqual(names({ ...ready, controllers: ['memory', 'pids'] }), ['warn cpu', 'warn cpuset', 'warn io']);
});

test('root that is not quite root', () => {
  const without = (capability: number) => ({
    ...good,
    capabilities: { effective: good.capabilities.effective.filter((c) => c !== capability), bounding: [] },
  });
  assert.deepEqual(names(without(21)), ['missing capabilities']);
  assert.deepEqual(names(without(24)), ['warn capabilities']);
});

test('version 1 names its own controllers', () => {
  const facts: DoctorFacts = {
    ...good,
    cgroup: { mode: 'legacy', v1: [] },
    controllers: ['memory', 'cpu', 'pids', 'cpuset'],
  };
  assert.deepEqual(names(facts), ['warn blkio']);
});

test('where a part of the kernel is', () => {
  const nothing = { inForce: false, config: undefined, loadable: undefined, builtin: undefined };
  assert.equal(presence('overlay', { ...nothing, inForce: true }), 'yes');
  assert.equal(presence('overlay', nothing), 'unknown');
  assert.equal(presence('overlay', { ...nothing, loadable: 'kernel/fs/overlayfs/overlay.ko.xz:\n' }), 'module');
  assert.equal(presence('nf_tables', { ...nothing, loadable: 'kernel/net/netfilter/nf_tables.ko:\n' }), 'module');
  assert.equal(presence('bridge', { ...nothing, loadable: '', builtin: 'kernel/net/bridge/bridge.ko\n' }), 'yes');
  assert.equal(presence('bridge', { ...nothing, loadable: 'kernel/net/bridge/bridge_x.ko:\n' }), 'no');
  assert.equal(presence('veth', { ...nothing, config: 'CONFIG_VETH=y\n' }), 'yes');
  assert.equal(presence('veth', { ...nothing, config: 'CONFIG_VETH=m\n' }), 'unknown');
  assert.equal(presence('veth', { ...nothing, config: '# CONFIG_VETH is not set\n' }), 'no');
});

test('this machine can be examined', () => {
  const findings = examine(doctorFacts());
  assert.ok(findings.length > 25);
  for (const finding of findings) assert.notEqual(finding.detail, '', finding.name);
});
