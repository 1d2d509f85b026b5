import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gatherFacts, hostFacts, kernelAtLeast, parseKernelRelease, parseSubIds } from './facts.ts';
import { cgroupDirectory, cgroupFacts, parseMountInfo } from './facts-cgroup.ts';

const debian12 = {
  '/proc/sys/kernel/osrelease': '6.1.0-28-amd64\n',
  '/proc/self/status': 'Name:\tnode\nCapInh:\t0\nCapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n',
  '/proc/sys/kernel/cap_last_cap': '40\n',
  '/proc/self/uid_map': '         0          0 4294967295\n',
  '/proc/self/ns': 'cgroup\nipc\nmnt\nnet\npid\ntime\nuser\nuts',
  '/proc/self/mountinfo': [
    '22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw',
    '28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro',
    '32 22 0:28 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:11 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot',
  ].join('\n'),
  '/proc/self/cgroup': '0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-u3.scope\n',
  '/sys/fs/cgroup/cgroup.controllers': 'cpuset cpu io memory hugetlb pids rdma misc\n',
  '/proc/filesystems': 'nodev\tsysfs\nnodev\ttmpfs\n\text4\nnodev\toverlay\n',
  '/proc/sys/user/max_user_namespaces': '15000\n',
  '/proc/sys/kernel/unprivileged_userns_clone': '1\n',
  '/proc/sys/kernel/seccomp/actions_avail': 'kill_process kill_thread trap errno user_notif trace log allow\n',
  '/sys/kernel/security/lsm': 'lockdown,capability,landlock,yama,apparmor',
  '/sys/module/apparmor/parameters/enabled': 'Y\n',
  '/proc/net/if_inet6': '00000000000000000000000000000001 01 80 10 80       lo\n',
  '/proc/sys/net/ipv6/conf/all/disable_ipv6': '0\n',
};
const user = { arch: 'x86_64', uid: 1000, euid: 1000, egid: 1000 } as const;

function gather(files: Readonly<Record<string, string>>): ReturnType<typeof gatherFacts> {
  return gatherFacts((path) => files[path], user);
}

test('an ordinary user on Debian 12: cgroup v2 alone, AppArmor, landlock', () => {
  const facts = gather(debian12);
  assert.deepEqual(facts.kernel, { release: '6.1.0-28-amd64', major: 6, minor: 1 });
  assert.deepEqual(facts.cgroup, {
    mode: 'unified',
    v1: [],
    v2: {
      mountPoint: '/sys/fs/cgroup',
      root: '/',
      own: '/user.slice/user-1000.slice/user@1000.service/app.slice/run-u3.scope',
      controllers: ['cpuset', 'cpu', 'io', 'memory', 'hugetlb', 'pids', 'rdma', 'misc'],
    },
  });
  assert.deepEqual(facts.capabilities.effective, []);
  assert.equal(facts.capabilities.bounding.length, 41);
  assert.equal(facts.inUserNamespace, false);
  assert.deepEqual(facts.userNamespaces, { possible: true });
  assert.ok(facts.apparmor && facts.ipv6 && !facts.selinux);
  assert.ok(facts.lsms.includes('landlock'));
  assert.deepEqual(facts.filesystems, ['sysfs', 'tmpfs', 'ext4', 'overlay']);
});

test('why an ordinary user cannot make user namespaces', () => {
  const why = (change: Record<string, string>) => gather({ ...debian12, ...change }).userNamespaces.why;
  assert.match(why({ '/proc/sys/kernel/unprivileged_userns_clone': '0\n' }) ?? '', /unprivileged_userns_clone is 0/);
  assert.match(
    why({ '/proc/sys/kernel/apparmor_restrict_unprivileged_userns': '1\n' }) ?? '',
    /apparmor_restrict_unprivileged_userns is 1/,
  );
  assert.match(why({ '/proc/sys/user/max_user_namespaces': '0\n' }) ?? '', /max_user_namespaces is 0/);
});

test('a machine that shows nothing has no feature', () => {
  const facts = gather({});
  assert.equal(facts.cgroup.mode, 'none');
  assert.equal(facts.userNamespaces.possible, false);
  assert.deepEqual(facts.seccompActions, []);
  assert.equal(facts.ipv6, false);
  assert.equal(facts.lastCapability, 40);
});

test('a hybrid machine: controllers in version 1, an empty version 2 beside them', () => {
  const facts = cgroupFacts(
    [
      '31 23 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755',
      '32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct',
      '33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory',
      '34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd',
      '35 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate',
    ].join('\n'),
    '9:memory:/a\n8:cpu,cpuacct:/\n7:freezer:/\n1:name=systemd:/init.scope\n0::/init.scope\n',
    (path) => (path === '/sys/fs/cgroup/unified/cgroup.controllers' ? '\n' : undefined),
  );
  assert.equal(facts.mode, 'hybrid');
  assert.deepEqual(facts.v1, [
    { controllers: ['memory'], own: '/a', mountPoint: '/sys/fs/cgroup/memory', root: '/' },
    { controllers: ['cpu', 'cpuacct'], own: '/', mountPoint: '/sys/fs/cgroup/cpu,cpuacct', root: '/' },
    { controllers: ['name=systemd'], own: '/init.scope', mountPoint: '/sys/fs/cgroup/systemd', root: '/' },
  ]);
  assert.deepEqual(facts.v2, {
    mountPoint: '/sys/fs/cgroup/unified',
    root: '/',
    own: '/init.scope',
    controllers: [],
  });
});

test('version 2 beside nothing but the named hierarchy of version 1 counts as unified', () => {
  const facts = cgroupFacts(
    '1 0 0:1 / /cg2 rw - cgroup2 none rw\n2 0 0:2 / /systemd rw - cgroup none rw,name=systemd',
    '1:name=systemd:/\n0::/\n',
    () => 'memory pids',
  );
  assert.equal(facts.mode, 'unified');
  assert.equal(facts.v2?.mountPoint, '/cg2');
});

test('a cgroup seen through a mount of part of its hierarchy', () => {
  const mount = { mountPoint: '/sys/fs/cgroup/memory', root: '/docker/abc', own: '/docker/abc' };
  assert.equal(cgroupDirectory(mount, '/docker/abc'), '/sys/fs/cgroup/memory');
  assert.equal(cgroupDirectory(mount, '/docker/abc/x'), '/sys/fs/cgroup/memory/x');
  assert.equal(cgroupDirectory(mount, '/docker/abcd'), undefined);
  assert.equal(cgroupDirectory({ ...mount, root: '/' }, '/x'), '/sys/fs/cgroup/memory/x');
});

test('mount points with spaces and backslashes', () => {
  const [mount] = parseMountInfo('1 0 0:1 / /a\\040b\\134c rw shared:1 master:2 - ext4 /dev/x rw,data=a\n');
  assert.equal(mount?.mountPoint, '/a b\\c');
  assert.equal(mount?.type, 'ext4');
});

test('subordinate ids by name or number; nonsense is left out', () => {
  const text = 'alice:100000:65536\n1000:300000:10\n# x\nbob:1:1\nalice:-1:5\nalice:4294967290:10\nalice:5:0\n';
  assert.deepEqual(parseSubIds(text, 'alice', 1000), [
    { start: 100000, count: 65536 },
    { start: 300000, count: 10 },
  ]);
});

test('kernel versions compare by number', () => {
  const kernel = parseKernelRelease('5.10.0-32');
  assert.ok(kernelAtLeast(kernel, 5, 9) && kernelAtLeast(kernel, 5, 10) && kernelAtLeast(kernel, 4, 20));
  assert.ok(!kernelAtLeast(kernel, 5, 12) && !kernelAtLeast(kernel, 6, 0));
  assert.deepEqual(parseKernelRelease('nonsense'), { release: 'nonsense', major: 0, minor: 0 });
});

test('this machine has facts', () => {
  const facts = hostFacts();
  assert.ok(facts.kernel.major >= 5);
  assert.ok(facts.namespaces.includes('mnt'));
  assert.equal(facts.euid, process.geteuid?.());
});
