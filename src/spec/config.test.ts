import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import { formatConfig, parseConfig, validateConfig, validateProcess, validateResources } from './config.ts';

/** What `runc spec` writes, shortened. */
const typical = {
  ociVersion: '1.2.1',
  process: {
    terminal: true,
    user: { uid: 0, gid: 0 },
    args: ['sh'],
    env: ['PATH=/usr/bin:/bin', 'TERM=xterm'],
    cwd: '/',
    capabilities: { bounding: ['CAP_KILL'], effective: ['CAP_KILL'], permitted: ['CAP_KILL'] },
    rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
    noNewPrivileges: true,
  },
  root: { path: 'rootfs', readonly: true },
  hostname: 'box',
  mounts: [
    { destination: '/proc', type: 'proc', source: 'proc' },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
  ],
  linux: {
    resources: { devices: [{ allow: false, access: 'rwm' }] },
    namespaces: [{ type: 'pid' }, { type: 'network', path: '/run/netns/a' }, { type: 'mount' }],
    maskedPaths: ['/proc/kcore'],
    readonlyPaths: ['/proc/sys'],
  },
};

/** The typical document with one value put at `path`; undefined removes it. */
function withValue(path: string, value: unknown): unknown {
  const copy = structuredClone(typical) as unknown;
  const steps = path.split('.');
  let at = copy as Record<string, unknown>;
  for (const step of steps.slice(0, -1)) at = (at[step] ??= {}) as Record<string, unknown>;
  at[steps.at(-1) as string] = value;
  return JSON.parse(JSON.stringify(copy));
}

test('a typical document comes back as it is, frozen', () => {
  const config = validateConfig(typical);
  assert.deepEqual(config, typical);
  assert.ok(Object.isFrozen(config));
  assert.ok(Object.isFrozen(config.mounts?.[1]?.options));
  assert.deepEqual(JSON.parse(formatConfig(config)), typical);
});

test('unknown properties are dropped; null and empty strings of Go programs count as absent', () => {
  const config = validateConfig({
    ...typical,
    vendor: { x: 1 },
    hooks: null,
    hostname: '',
    linux: { cgroupsPath: '', sysctl: null, resources: { cpu: { cpus: '' } }, namespaces: [{ type: 'pid', path: '' }] },
  });
  assert.equal('vendor' in config, false);
  assert.equal('hooks' in config, false);
  assert.equal('hostname' in config, false);
  assert.deepEqual(config.linux, { resources: { cpu: {} }, namespaces: [{ type: 'pid' }] });
});

test('64-bit integers survive exactly, through text and back', () => {
  const text = JSON.stringify(typical).replaceAll('"hard":1024', '"hard":18446744073709551615');
  const config = parseConfig(text);
  assert.equal(config.process?.rlimits?.[0]?.hard, 2n ** 64n - 1n);
  assert.equal(config.process?.rlimits?.[0]?.soft, 1024);
  assert.match(formatConfig(config), /"hard": 18446744073709551615/);
  assert.deepEqual(parseConfig(formatConfig(config)), config);
});

test('what JSON.parse rounds up is taken for the largest integer', () => {
  assert.equal(validateResources({ memory: { limit: Number('9223372036854775807') } }).memory?.limit, 2n ** 63n - 1n);
  const limits = validateProcess({
    cwd: '/',
    rlimits: [{ type: 'RLIMIT_CORE', hard: Number('18446744073709551615'), soft: 0 }],
  }).rlimits;
  assert.equal(limits?.[0]?.hard, 2n ** 64n - 1n);
});

test('a process without a user runs as root', () => {
  assert.deepEqual(validateProcess({ cwd: '/' }).user, { uid: 0, gid: 0 });
});

const wrong: [path: string, value: unknown, message: RegExp][] = [
  ['ociVersion', undefined, /config\.json: ociVersion: is missing \(OCI runtime-spec 1\.3, config\.md\)/],
  ['ociVersion', '2.0.0', /ociVersion: expected a version.*"2\.0\.0"/],
  ['root', undefined, /root: is missing/],
  ['root.path', 7, /root\.path: expected a string, got 7.*config\.md#root/],
  ['process.cwd', 'tmp', /process\.cwd: expected an absolute path, got "tmp"/],
  ['process.args', [], /process\.args: expected at least 1 entries, got 0/],
  ['process.env', ['A=b\0c'], /process\.env\[0\]: contains a NUL byte/],
  ['process.user', { uid: -1, gid: 0 }, /process\.user\.uid: expected an integer from 0 to 4294967294, got -1/],
  ['process.user', { uid: 4294967296, gid: 0 }, /process\.user\.uid/],
  ['process.user', { uid: 1.5, gid: 0 }, /process\.user\.uid/],
  [
    'process.rlimits',
    [{ type: 'RLIMIT_CORE', hard: 1, soft: 2 }],
    /rlimits\[0\]: soft limit 2 is above the hard limit 1/,
  ],
  [
    'process.rlimits',
    [
      { type: 'RLIMIT_CORE', hard: 1, soft: 1 },
      { type: 'RLIMIT_CORE', hard: 2, soft: 2 },
    ],
    /process\.rlimits\[1\]: limit RLIMIT_CORE is given twice/,
  ],
  ['process.oomScoreAdj', 1001, /oomScoreAdj/],
  ['process.ioPriority', { class: 'IOPRIO_CLASS_BE', priority: 8 }, /ioPriority\.priority/],
  ['mounts', [{ destination: '' }], /mounts\[0\]\.destination: expected a string that is not empty/],
  [
    'mounts',
    [{ destination: '/a', uidMappings: [{ containerID: 0, hostID: 0, size: 1 }] }],
    /mounts\[0\]: uidMappings and gidMappings go together/,
  ],
  ['hooks.prestart', [{ path: 'x' }], /hooks\.prestart\[0\]\.path: expected an absolute path/],
  ['hooks.poststop', [{ path: '/x', timeout: 0 }], /hooks\.poststop\[0\]\.timeout/],
  ['annotations', { a: 1 }, /annotations\.a: expected a string, got 1/],
  ['hostname', 'x'.repeat(65), /hostname/],
  ['linux.namespaces', [{ type: 'pid' }, { type: 'pid' }], /linux\.namespaces\[1\]: namespace pid is given twice/],
  ['linux.namespaces', [{ type: 'net' }], /linux\.namespaces\[0\]\.type: expected one of pid, network/],
  ['linux.uidMappings', [{ containerID: 0, hostID: 1, size: 0 }], /linux\.uidMappings\[0\]\.size/],
  ['linux.uidMappings', [{ containerID: 0, hostID: 2, size: 4294967295 }], /maps ids beyond/],
  ['linux.devices', [{ path: '/dev/a', type: 'c', major: 1 }], /linux\.devices\[0\]\.minor: is missing.*#devices/],
  ['linux.cgroupsPath', '/a/../../b', /linux\.cgroupsPath: expected the path of a cgroup, without \.\./],
  ['linux.cgroupsPath', '..', /linux\.cgroupsPath/],
  ['linux.sysctl', { 'kernel.shm_rmid_forced': '1\n+kernel.core_pattern=|/x' }, /sysctl\["kernel\.shm.*one line/],
  ['linux.sysctl', { '../../etc/passwd': '1' }, /the name of a sysctl/],
  ['linux.sysctl', { 'net/../../x': '1' }, /the name of a sysctl/],
  ['linux.resources.unified', { '../memory.max': '1' }, /the name of a cgroup file/],
  ['linux.resources.memory.limit', '5m', /linux\.resources\.memory\.limit: expected an integer.*"5m".*#memory/],
  ['linux.resources.cpu.cpus', '0-3;1', /linux\.resources\.cpu\.cpus: expected a list like 0-3,7/],
  ['linux.resources.hugepageLimits', [{ pageSize: '64kB', limit: 1 }], /pageSize: expected a size like/],
  ['linux.resources.devices', [{ allow: true, access: 'rx' }], /devices\[0\]\.access: expected any of r, w, m/],
  ['linux.seccomp', { defaultAction: 'SCMP_ACT_ALLOW', defaultErrnoRet: 1 }, /SCMP_ACT_ALLOW does not return an errno/],
  [
    'linux.seccomp',
    {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [{ names: ['read'], action: 'SCMP_ACT_ERRNO', args: [{ index: 6, value: 0, op: 'SCMP_CMP_EQ' }] }],
    },
    /linux\.seccomp\.syscalls\[0\]\.args\[0\]\.index.*#seccomp/,
  ],
  ['linux.rootfsPropagation', 'public', /rootfsPropagation/],
  ['linux.netDevices', { eth0: { name: 'a/b' } }, /netDevices\.eth0\.name/],
  ['linux.timeOffsets', { realtime: { secs: 1 } }, /timeOffsets\.realtime: expected one of monotonic, boottime/],
];

for (const [path, value, message] of wrong) {
  test(`refused: ${path} = ${JSON.stringify(value)?.slice(0, 70)}`, () => {
    assert.throws(
      () => validateConfig(withValue(path, value)),
      (e) => {
        assert.ok(isKeelsonError(e, 'invalid-argument'));
        assert.match(e.message, message);
        return true;
      },
    );
  });
}

test('all problems are reported together', () => {
  assert.throws(
    () => validateConfig({ ociVersion: 1, process: { cwd: 2 } }),
    (e) => {
      assert.ok(isKeelsonError(e, 'invalid-argument'));
      assert.match(e.message, /^config\.json: ociVersion: .*, and 2 more$/);
      assert.equal((e.details['problems'] as unknown[]).length, 3);
      return true;
    },
  );
});

test('text that is not JSON, and documents that are not objects', () => {
  assert.throws(
    () => parseConfig('{"ociVersion"'),
    (e) => isKeelsonError(e, 'invalid-argument') && e.message.startsWith('config.json is not JSON: '),
  );
  for (const value of [null, 3, 'x', []]) {
    assert.throws(
      () => validateConfig(value),
      (e) => isKeelsonError(e, 'invalid-argument') && e.message.startsWith('config.json: expected an object'),
    );
  }
});

test('a key named __proto__ is a key like any other', () => {
  const annotations = validateConfig(
    JSON.parse(JSON.stringify(typical).replace('"hostname":"box"', '"annotations":{"__proto__":"a"}')),
  ).annotations;
  assert.deepEqual(Object.keys(annotations ?? {}), ['__proto__']);
});

test('names in another case are the names they stand for, as callers written in Go have it', () => {
  const { linux } = parseConfig(
    JSON.stringify({
      ociVersion: '1.2.0',
      root: { path: 'r' },
      linux: { resources: { cpu: { shares: 5 }, CPU: { Cpus: '0' }, hugepageLimits: [{ pagesize: '2MB', limit: 5 }] } },
    }),
  );
  assert.deepEqual(linux?.resources?.cpu, { shares: 5, cpus: '0' });
  assert.deepEqual(linux?.resources?.hugepageLimits, [{ pageSize: '2MB', limit: 5 }]);
});
