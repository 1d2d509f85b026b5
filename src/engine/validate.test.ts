import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ContainerConfig, Resources } from './types.ts';
import { validateConfig } from './validate.ts';
import { checkResources, type HostCapacity, parseCpuset, settableResources } from './validate-resources.ts';

const host: HostCapacity = {
  cpus: 4,
  onlineCpus: new Set([0, 1, 2, 3]),
  onlineNodes: new Set([0]),
  memoryLimit: true,
  swapLimit: true,
  pidsLimit: true,
  cpuLimit: true,
  cpuset: true,
  blkioWeight: true,
  cgroupV2: false,
};
const check = (config: Partial<ContainerConfig>): readonly string[] => validateConfig({ image: 'x', ...config }, host);
const MiB = 1 << 20;

describe('a configuration is refused', () => {
  const refused: [string, Partial<ContainerConfig>, RegExp][] = [
    ['empty variable name', { env: ['=x'] }, /invalid environment variable: =x/],
    ['NUL in the environment', { env: ['A=\0'] }, /contains a NUL byte/],
    ['NUL in the command', { command: ['a\0b'] }, /contains a NUL byte/],
    ['newline in the user', { user: 'a\nb' }, /control character/],
    ['user out of range', { user: '4294967296' }, /uids and gids must be in range 0-2147483647/],
    ['group out of range', { user: '1:2147483648' }, /must be in range/],
    ['negative user', { user: '-1' }, /must be in range/],
    ['host name with a newline', { hostname: 'a\n127.0.0.1 evil' }, /invalid hostname format/],
    ['host name too long', { hostname: 'x'.repeat(64) }, /invalid hostname format/],
    ['unknown network', { network: 'web' as never }, /network web not found/],
    [
      'host name with a foreign network',
      { network: 'container:x', hostname: 'a' },
      /conflicting options: hostname and the network mode/,
    ],
    [
      'ports with a foreign network',
      { network: 'container:x', publishAll: true },
      /port publishing and the container type network mode/,
    ],
    ['host name with the host’s UTS', { utsMode: 'host', hostname: 'a' }, /hostname and the UTS mode/],
    ['unknown pid mode', { pidMode: 'x' }, /invalid PID mode: x/],
    ['unknown security option', { securityOpt: ['fun=1'] }, /invalid --security-opt 2: "fun=1"/],
    ['security option without value', { securityOpt: ['seccomp'] }, /invalid --security-opt 1: "seccomp"/],
    ['unknown ulimit', { ulimits: [{ name: 'x', soft: 1, hard: 1 }] }, /invalid ulimit type: x/],
    [
      'soft above hard',
      { ulimits: [{ name: 'nofile', soft: 2, hard: 1 }] },
      /soft limit must be less than or equal to hard limit: 2 > 1/,
    ],
    [
      'relative device',
      { devices: [{ hostPath: 'dev/x', containerPath: '/x', permissions: 'rwm' }] },
      /bad format for path/,
    ],
    [
      'device mode',
      { devices: [{ hostPath: '/dev/null', containerPath: '/x', permissions: 'rx' }] },
      /bad mode specified: rx/,
    ],
    ['sysctl of the host', { sysctls: { 'kernel.core_pattern': '|/x' } }, /not in a separate kernel namespace/],
    ['newline in a sysctl', { sysctls: { 'net.ipv4.ip_forward': '1\n+x' } }, /control character/],
    ['path in a sysctl', { sysctls: { 'net/../kernel/core_pattern': 'x' } }, /invalid sysctl name/],
    [
      'net sysctl with the host’s network',
      { network: 'host', sysctls: { 'net.ipv4.ip_forward': '1' } },
      /not allowed in host network namespace/,
    ],
    ['extra host', { extraHosts: ['nonsense'] }, /bad format for add-host/],
    ['extra host with a newline', { extraHosts: ['a:1.2.3.4\n5.6.7.8 evil'] }, /control character/],
    ['shared memory', { shmSize: -1 }, /SHM size can not be less than 0/],
    ['OOM score', { oomScoreAdj: 2000 }, /range for oom score adj is \[-1000, 1000\]/],
    ['restart policy', { restart: { name: 'x' as never, maximumRetryCount: 0 } }, /unknown policy 'x'/],
    [
      'retries with always',
      { restart: { name: 'always', maximumRetryCount: 1 } },
      /can only be used with 'on-failure'/,
    ],
    [
      '--rm with a policy',
      { autoRemove: true, restart: { name: 'always', maximumRetryCount: 0 } },
      /can't create 'AutoRemove' container with restart policy/,
    ],
    ['log driver', { logDriver: 'syslog' as never }, /no log driver named 'syslog' is registered/],
    ['log option', { logOptions: { x: '1' } }, /unknown log opt 'x' for json-file log driver/],
    ['files without size', { logOptions: { 'max-file': '3' } }, /max-file/],
    ['no files', { logOptions: { 'max-file': '0' } }, /max-file cannot be less than 1/],
  ];
  for (const [what, config, message] of refused) {
    test(what, () => {
      assert.throws(() => check(config), message);
    });
  }
});

test('what is in order passes without a warning', () => {
  assert.deepEqual(
    check({
      env: ['A=1\n2', 'B=', 'C'],
      user: 'name:2147483647',
      securityOpt: ['seccomp=unconfined', 'no-new-privileges', 'label:disable', 'systempaths=unconfined'],
      sysctls: { 'net.core.somaxconn': '1', 'kernel.msgmax': '1', 'fs.mqueue.msg_max': '10' },
      ulimits: [{ name: 'core', soft: 0, hard: -1 }],
      extraHosts: ['a:1.2.3.4', 'b:::1', 'c:host-gateway', 'd=[::1]'],
      logOptions: { 'max-size': '10m', 'max-file': '3' },
    }),
    [],
  );
  assert.deepEqual(check({ network: 'host', publishAll: true }), [
    'Published ports are discarded when using host network mode',
  ]);
});

describe('limits', () => {
  const refused: [Resources, RegExp][] = [
    [{ memory: 5 * MiB }, /Minimum memory limit allowed is 6MB/],
    [{ memory: 64 * MiB, memorySwap: 32 * MiB }, /memoryswap limit should be larger than memory limit/],
    [{ memorySwap: 64 * MiB }, /always set the Memory limit/],
    [{ memory: -1 }, /can not be negative/],
    [{ memory: 1.5 }, /invalid value for memory/],
    [{ memorySwappiness: 101 }, /swappiness range is 0-100/],
    [{ memory: 10 * MiB, memoryReservation: 20 * MiB }, /less than memory reservation limit/],
    [{ nanoCpus: 5e9 }, /Range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available/],
    [{ nanoCpus: 1e9, cpuPeriod: 1000 }, /Nano CPUs and CPU Period cannot both be set/],
    [{ cpuPeriod: 10 }, /CPU cfs period/],
    [{ cpuQuota: 10 }, /CPU cfs quota/],
    [{ cpusetCpus: '0-9' }, /Requested CPUs are not available - requested 0-9, available: 0-3/],
    [{ cpusetCpus: '0,x' }, /Invalid value 0,x for cpuset cpus/],
    [{ cpusetMems: '1' }, /Requested memory nodes are not available/],
    [{ blkioWeight: 5 }, /Range of blkio weight is from 10 to 1000/],
  ];
  for (const [resources, message] of refused) {
    test(`refuses ${JSON.stringify(resources)}`, () => {
      assert.throws(() => checkResources(resources, host), message);
    });
  }

  test('what the kernel can’t limit is a warning', () => {
    const poor = { ...host, swapLimit: false, pidsLimit: false };
    const warnings = checkResources({ memory: 64 * MiB, pidsLimit: 5 }, poor);
    assert.equal(warnings.length, 2);
    assert.deepEqual(checkResources({ memory: 64 * MiB, memorySwap: -1 }, host), []);
  });

  test('cpusets are read as the kernel writes them', () => {
    assert.deepEqual(parseCpuset('0-2,5'), [0, 1, 2, 5]);
    for (const bad of ['', '-1', '2-1', '1,', '0-99999']) assert.equal(parseCpuset(bad), undefined);
  });
});

test('limits that were warned of are left out, the others stay', () => {
  const poor: HostCapacity = { ...host, memoryLimit: false, swapLimit: false };
  const limits = { memory: 64 * MiB, memorySwap: 128 * MiB, pidsLimit: 5, cpuShares: 512 };
  assert.deepEqual(settableResources(limits, poor), { pidsLimit: 5, cpuShares: 512 });
  assert.deepEqual(settableResources(limits, host), limits);
});
