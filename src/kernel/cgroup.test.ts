import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import { cgroupDriver, cgroupPath, namesOfLimits } from './cgroup.ts';
import type { CgroupPlan } from './cgroup-driver.ts';
import { cgroupV1 } from './cgroup-v1.ts';
import { blkioToIoWeight, cgroupV2, sharesToWeight, swapMax } from './cgroup-v2.ts';
import { oomKills } from './cgroup-values.ts';
import type { CgroupFacts } from './facts-cgroup.ts';

const v1: CgroupFacts = {
  mode: 'legacy',
  v1: ['memory', 'cpu,cpuacct', 'cpuset', 'pids', 'blkio', 'devices', 'freezer'].map((name) => ({
    controllers: name.split(','),
    mountPoint: `/cg/${name}`,
    root: '/',
    own: '/',
  })),
};
const v2: CgroupFacts = {
  mode: 'unified',
  v1: [],
  v2: { mountPoint: '/cg', root: '/', own: '/', controllers: ['cpu', 'memory', 'io', 'pids', 'cpuset', 'hugetlb'] },
};
const from = (files: Record<string, string>) => (path: string) => files[path];
const root1 = from({ '/cg/cpuset/cpuset.cpus': '0-3\n', '/cg/cpuset/cpuset.mems': '0\n' });

function create(
  facts: CgroupFacts,
  resources: Parameters<typeof cgroupV1.update>[1],
  read = root1,
  path = '/keelson/a',
): CgroupPlan {
  const driver = cgroupDriver(facts);
  return driver.create(facts, { cgroup: driver.locate(facts, path), resources, skipDevices: true }, read);
}

/** `file=value` of all writes in a directory. */
function writes(plan: CgroupPlan, path: string): string[] {
  const directory = plan.directories.find((d) => d.path === path);
  assert.ok(directory, `${path} is not among ${plan.directories.map((d) => d.path).join(' ')}`);
  return directory.writes.map((w) => `${w.file}=${w.value}`);
}

const full = {
  memory: { limit: 100 << 20, swap: 300 << 20, reservation: 50 << 20 },
  cpu: { shares: 512, quota: 50000, period: 100000, cpus: '0-1', mems: '0' },
  pids: { limit: 64 },
  blockIO: { weight: 500, throttleReadBpsDevice: [{ major: 8, minor: 16, rate: 1048576 }] },
};

test('version 1: each limit goes to its hierarchy, in an order the kernel takes', () => {
  const plan = create(v1, full);
  assert.deepEqual(writes(plan, '/cg/memory/keelson/a'), [
    'memory.limit_in_bytes=104857600',
    'memory.memsw.limit_in_bytes=314572800',
    'memory.soft_limit_in_bytes=52428800',
  ]);
  assert.deepEqual(writes(plan, '/cg/cpu,cpuacct/keelson/a'), [
    'cpu.shares=512',
    'cpu.cfs_period_us=100000',
    'cpu.cfs_quota_us=50000',
  ]);
  assert.deepEqual(writes(plan, '/cg/pids/keelson/a'), ['pids.max=64']);
  assert.deepEqual(writes(plan, '/cg/blkio/keelson/a'), [
    'blkio.weight=500',
    'blkio.bfq.weight=500',
    'blkio.throttle.read_bps_device=8:16 1048576',
  ]);
  assert.equal(plan.directories.filter((d) => d.leaf).length, 7);
  assert.equal('cloneInto' in plan, false);
});

test('version 1: a cpuset right below the top gets what that has', () => {
  const cgroup = cgroupV1.locate(v1, '/a');
  const plan = cgroupV1.create(v1, { cgroup, resources: {}, skipDevices: true }, root1);
  assert.deepEqual(writes(plan, '/cg/cpuset/a'), ['cpuset.cpus=0-3', 'cpuset.mems=0']);
});

test('version 1: a new cpuset gets what the one above has, before what was asked for', () => {
  const plan = create(v1, full);
  assert.deepEqual(writes(plan, '/cg/cpuset/keelson'), ['cpuset.cpus=0-3', 'cpuset.mems=0']);
  assert.deepEqual(writes(plan, '/cg/cpuset/keelson/a'), [
    'cpuset.cpus=0-3',
    'cpuset.mems=0',
    'cpuset.cpus=0-1',
    'cpuset.mems=0',
  ]);
  const restricted = create(
    v1,
    {},
    from({
      '/cg/cpuset/cpuset.cpus': '0-3\n',
      '/cg/cpuset/cpuset.mems': '0\n',
      '/cg/cpuset/keelson/cpuset.cpus': '2\n',
      '/cg/cpuset/keelson/cpuset.mems': '0\n',
    }),
  );
  assert.deepEqual(writes(restricted, '/cg/cpuset/keelson'), []);
  assert.deepEqual(writes(restricted, '/cg/cpuset/keelson/a'), ['cpuset.cpus=2', 'cpuset.mems=0']);
});

test('version 1: a group right below the root gets what the root has', () => {
  assert.deepEqual(writes(create(v1, {}, root1, '/a'), '/cg/cpuset/a'), ['cpuset.cpus=0-3', 'cpuset.mems=0']);
});

test('version 1: devices are denied first, then the default ones allowed', () => {
  const driver = cgroupDriver(v1);
  const plan = driver.create(
    v1,
    {
      cgroup: driver.locate(v1, '/a'),
      resources: {
        devices: [
          { allow: false, access: 'rwm' },
          { allow: true, type: 'c', major: 10, minor: 229, access: 'rw' },
        ],
      },
    },
    root1,
  );
  const lines = writes(plan, '/cg/devices/a');
  assert.deepEqual(lines.slice(0, 3), ['devices.deny=a', 'devices.allow=c 10:229 rw', 'devices.allow=c *:* m']);
  assert.ok(lines.includes('devices.allow=c 136:* rwm'));
  const privileged = driver.create(
    v1,
    { cgroup: driver.locate(v1, '/a'), resources: { devices: [{ allow: true, access: 'rwm' }] } },
    root1,
  );
  assert.deepEqual(writes(privileged, '/cg/devices/a'), ['devices.allow=a']);
});

test('version 1 refuses what its device exceptions cannot say, rather than silently allow', () => {
  const driver = cgroupDriver(v1);
  const devices = [
    { allow: true, type: 'b' as const, major: 8, access: 'rw' },
    { allow: false, type: 'b' as const, major: 8, minor: 1, access: 'w' },
  ];
  assert.throws(
    () => driver.create(v1, { cgroup: driver.locate(v1, '/a'), resources: { devices } }, root1),
    (e) => isKeelsonError(e, 'unsupported') && /cannot deny .*b 8:1 w.* after .*b 8:\* rw/.test(e.message),
  );
});

test('version 1 has no unified files, and needs the controllers of its limits', () => {
  assert.throws(
    () => create(v1, { unified: { 'memory.high': '1' } }),
    (e) => isKeelsonError(e, 'unsupported'),
  );
  assert.throws(
    () => create({ ...v1, v1: v1.v1.slice(1) }, { memory: { limit: 1 } }),
    (e) => isKeelsonError(e, 'unsupported') && /memory/.test(e.message),
  );
});

test('version 2: limits are converted', () => {
  const plan = create(v2, full, from({ '/cg/cgroup.subtree_control': 'cpu memory io pids cpuset hugetlb\n' }));
  assert.deepEqual(writes(plan, '/cg/keelson/a'), [
    'memory.swap.max=209715200',
    'memory.max=104857600',
    'memory.low=52428800',
    'cpu.weight=59',
    'cpu.max=50000 100000',
    'cpuset.cpus=0-1',
    'cpuset.mems=0',
    'pids.max=64',
    'io.bfq.weight=500',
    'io.weight=4950',
    'io.max=8:16 rbps=1048576',
  ]);
  assert.equal(plan.cloneInto, '/cg/keelson/a');
});

test('version 2: controllers are offered from the top down, where they are not yet', () => {
  const plan = create(v2, { memory: { limit: 1 } }, from({ '/cg/cgroup.subtree_control': 'cpu memory io pids\n' }));
  assert.deepEqual(
    plan.directories.map((d) => d.path),
    ['/cg', '/cg/keelson', '/cg/keelson/a'],
  );
  assert.deepEqual(writes(plan, '/cg'), ['cgroup.subtree_control=+cpuset', 'cgroup.subtree_control=+hugetlb']);
  assert.equal(writes(plan, '/cg/keelson').length, 6);
  const policy = (value: string) => plan.directories[1]?.writes.find((w) => w.value === value)?.whenMissing;
  assert.equal(policy('+memory'), 'fail');
  assert.equal(policy('+cpu'), 'ignore');
  assert.throws(
    () => create(v2, { rdma: { mlx5_1: { hcaHandles: 3 } } }, from({})),
    (e) => isKeelsonError(e, 'unsupported') && /rdma/.test(e.message),
  );
});

test('version 2: unified files come last, a line a write', () => {
  const plan = create(v2, { unified: { 'memory.high': '5', 'io.max': '8:0 rbps=1\n8:16 rbps=2\n' } }, from({}));
  assert.deepEqual(writes(plan, '/cg/keelson/a'), ['memory.high=5', 'io.max=8:0 rbps=1', 'io.max=8:16 rbps=2']);
});

test('version 2: what it has no word for is a warning', () => {
  const plan = create(v2, { memory: { swappiness: 10, disableOOMKiller: true }, network: { classID: 1 } }, from({}));
  assert.equal(plan.warnings.length, 3);
  assert.deepEqual(writes(plan, '/cg/keelson/a'), []);
});

test('version 2: a memory limit below the usage is refused when that is asked for', () => {
  const cgroup = cgroupV2.locate(v2, '/a');
  const read = from({ '/cg/a/memory.current': '1000\n' });
  const memory = { limit: 500, checkBeforeUpdate: true };
  assert.throws(
    () => cgroupV2.update(cgroup, { memory }, read),
    (e) => isKeelsonError(e, 'conflict') && /500.*1000/.test(e.message),
  );
  assert.deepEqual(
    cgroupV2.update(cgroup, { memory: { limit: 500 } }, read).map((w) => [w.path, w.value]),
    [['/cg/a/memory.max', '500']],
  );
});

test('conversions agree with runc and crun', () => {
  assert.equal(swapMax({ swap: 0 }), '0');
  assert.equal(swapMax({ limit: 5, swap: 0 }), undefined);
  assert.deepEqual([2, 1024, 262144, 1, 512, 2048].map(sharesToWeight), [1, 100, 10000, 1, 59, 174]);
  assert.deepEqual([10, 500, 1000].map(blkioToIoWeight), [1, 4950, 10000]);
  assert.equal(swapMax({ limit: 100, swap: 100 }), '0');
  assert.equal(swapMax({ limit: 100, swap: 300 }), '200');
  assert.equal(swapMax({ limit: 100, swap: -1 }), 'max');
  assert.equal(swapMax({ limit: 100 }), undefined);
  assert.equal(swapMax({ limit: -1 }), 'max');
  assert.equal(swapMax({ limit: -1, swap: 300 }), '300');
});

for (const [name, resources] of [
  ['swap without memory', { memory: { swap: 100 } }],
  ['swap below memory', { memory: { limit: 200, swap: 100 } }],
  ['a tiny cpu quota', { cpu: { quota: 500 } }],
  ['a period beyond a second', { cpu: { period: 2_000_000 } }],
  ['a burst above the quota', { cpu: { quota: 10000, burst: 20000 } }],
  ['a weight out of range', { blockIO: { weight: 5 } }],
] as const) {
  test(`refused before anything is made: ${name}`, () => {
    for (const facts of [v1, v2]) {
      assert.throws(
        () => create(facts, resources),
        (e) => isKeelsonError(e, 'invalid-argument'),
      );
    }
  });
}

test('a pids limit of 0 is that of one process, below 0 is none', () => {
  assert.deepEqual(writes(create(v2, { pids: { limit: 0 } }, from({})), '/cg/keelson/a'), ['pids.max=1']);
  assert.deepEqual(writes(create(v2, { pids: { limit: -1 } }, from({})), '/cg/keelson/a'), ['pids.max=max']);
});

test('a group with processes in it, or frozen, is refused', () => {
  for (const [facts, file, text] of [
    [v1, '/cg/freezer/keelson/a/cgroup.procs', '12\n'],
    [v1, '/cg/freezer/keelson/a/freezer.state', 'FROZEN\n'],
    [v2, '/cg/keelson/a/cgroup.procs', '12\n'],
    [v2, '/cg/keelson/a/cgroup.freeze', '1\n'],
  ] as const) {
    assert.throws(
      () => create(facts, {}, (path) => (path === file ? text : root1(path))),
      (e) => isKeelsonError(e, 'conflict'),
    );
  }
});

test('paths: for root, with cgroupsPath, without leave', () => {
  const base = { facts: v2, id: 'a1', read: () => '', owns: () => false };
  assert.equal(cgroupPath({ ...base, rootless: false }), '/keelson/a1');
  assert.equal(cgroupPath({ ...base, rootless: false, cgroupsPath: '/x/y' }), '/x/y');
  assert.equal(cgroupPath({ ...base, rootless: false, cgroupsPath: 'x' }), '/x');
  assert.equal(cgroupPath({ ...base, rootless: true }), undefined);
  assert.equal(cgroupPath({ ...base, facts: { mode: 'none', v1: [] }, rootless: false }), undefined);
  assert.equal(cgroupPath({ ...base, rootless: false, cgroupsPath: '/a/../../b' }), '/b', 'no path climbs');
  for (const root of ['/', '.', '/a/..']) {
    assert.throws(() => cgroupPath({ ...base, rootless: false, cgroupsPath: root }), /root of the hierarchies/, root);
  }
});

test('paths: an ordinary user gets the lowest delegated group without processes', () => {
  const user = '/user.slice/user-1000.slice/user@1000.service';
  const facts: CgroupFacts = { ...v2, v2: { ...v2.v2!, own: `${user}/app.slice/run-u3.scope` } };
  const owns = (directory: string) => directory.startsWith(`/cg${user}`);
  const input = { facts, rootless: true, id: 'a1', owns };
  const busy = (path: string) => (path.endsWith('run-u3.scope/cgroup.procs') ? '77\n' : '');
  assert.equal(cgroupPath({ ...input, read: busy }), `${user}/app.slice/keelson/a1`);
  assert.equal(cgroupPath({ ...input, read: () => '77\n' }), `${user}/keelson/a1`);
  assert.equal(cgroupPath({ ...input, read: busy, cgroupsPath: 'p/q' }), `${user}/app.slice/p/q`);
});

test('statistics of version 1', () => {
  const cgroup = cgroupV1.locate(v1, '/a');
  const read = from({
    '/cg/memory/a/memory.stat': 'cache 5\ntotal_inactive_file 3000\n',
    '/cg/memory/a/memory.usage_in_bytes': '10000\n',
    '/cg/memory/a/memory.max_usage_in_bytes': '12000\n',
    '/cg/memory/a/memory.memsw.usage_in_bytes': '11000\n',
    '/cg/memory/a/memory.limit_in_bytes': '9223372036854771712\n',
    '/cg/cpu,cpuacct/a/cpuacct.usage': '123456\n',
    '/cg/cpu,cpuacct/a/cpuacct.usage_percpu': '100000 23456 \n',
    '/cg/cpu,cpuacct/a/cpu.stat': 'nr_periods 4\nnr_throttled 2\nthrottled_time 99\n',
    '/cg/blkio/a/blkio.throttle.io_service_bytes_recursive':
      '8:0 Read 4096\n8:0 Write 8192\n8:0 Total 12288\nTotal 12288\n',
    '/cg/blkio/a/blkio.throttle.io_serviced_recursive': '8:0 Read 1\n8:0 Write 2\n',
    '/cg/pids/a/pids.current': '3\n',
    '/cg/pids/a/pids.max': 'max\n',
  });
  const stats = cgroupV1.stats(cgroup, read);
  assert.deepEqual(
    [stats.memory.usage, stats.memory.total, stats.memory.swap, stats.memory.peak, stats.memory.limit],
    [7000, 10000, 1000, 12000, undefined],
  );
  assert.deepEqual([stats.cpu.total, stats.cpu.perCpu, stats.cpu.throttledTime], [123456, [100000, 23456], 99]);
  assert.deepEqual(stats.io, [{ major: 8, minor: 0, readBytes: 4096, writeBytes: 8192, reads: 1, writes: 2 }]);
  assert.deepEqual(stats.pids, { current: 3 });
});

test('statistics of version 2', () => {
  const cgroup = cgroupV2.locate(v2, '/a');
  const read = from({
    '/cg/a/memory.stat': 'anon 5\ninactive_file 3000\n',
    '/cg/a/memory.current': '10000\n',
    '/cg/a/memory.max': '20000\n',
    '/cg/a/cpu.stat': 'usage_usec 100\nuser_usec 60\nsystem_usec 40\nnr_throttled 1\nthrottled_usec 7\n',
    '/cg/a/io.stat': '8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n254:0 \n',
    '/cg/a/pids.current': '3\n',
    '/cg/a/pids.max': '10\n',
  });
  const stats = cgroupV2.stats(cgroup, read);
  assert.deepEqual([stats.memory.usage, stats.memory.limit], [7000, 20000]);
  assert.deepEqual([stats.cpu.total, stats.cpu.user, stats.cpu.throttledTime], [100000, 60000, 7000]);
  assert.deepEqual(stats.io[0], { major: 8, minor: 0, readBytes: 4096, writeBytes: 0, reads: 1, writes: 0 });
  assert.deepEqual(stats.pids, { current: 3, limit: 10 });
  assert.deepEqual(cgroupV2.stats(cgroup, () => undefined).memory.usage, 0);
});

test('kills for want of memory are read in both versions', () => {
  assert.equal(oomKills('oom_kill_disable 0\nunder_oom 0\noom_kill 2\n'), 2);
  assert.equal(oomKills('low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n'), 1);
  assert.equal(oomKills(''), 0);
});

test('names of limits leave devices out', () => {
  assert.deepEqual(namesOfLimits({ devices: [{ allow: false }], memory: { limit: 1 }, cpu: {}, pids: { limit: 5 } }), [
    'memory',
    'pids',
  ]);
});
