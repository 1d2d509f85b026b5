/**
 * A plan for each section of the specification, to be read: what the section adds to the plan of the least config, and what it takes away. After a change
 * that is meant, `KEELSON_GOLDEN=write node --test test/unit/golden-plans.test.ts` writes them anew; the difference is then read like any other.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { planLines } from '../../src/cli/explain/plan-lines.ts';
import type { Plan } from '../../src/kernel/plan.ts';
import type { Linux, Process, Spec } from '../../src/spec/runtime.ts';
import { least } from '../support/configs.ts';
import { type PlanOptions, wholePlanOf } from '../support/plan-of.ts';

const directory = join(import.meta.dirname, '../oci/golden');
const write = process.env['KEELSON_GOLDEN'] === 'write';

const namespaces = (...types: readonly ('pid' | 'network' | 'ipc' | 'uts' | 'cgroup' | 'user' | 'time')[]): Linux => ({
  namespaces: [{ type: 'mount' }, ...types.map((type) => ({ type }))],
});
const ofLinux = (linux: Linux): Partial<Spec> => ({ linux: { ...least.linux, ...linux } });
const ofProcess = (process: Partial<Process>): Partial<Spec> => ({
  ...(least.process && { process: { ...least.process, ...process } }),
});
const ids = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
const caps = ['CAP_CHOWN', 'CAP_NET_BIND_SERVICE'];
const limits: Linux = {
  resources: {
    memory: { limit: 1 << 26, reservation: 1 << 25, swap: 1 << 27 },
    cpu: { shares: 512, quota: 50_000, period: 100_000, cpus: '0-1' },
    pids: { limit: 100 },
    blockIO: { weight: 500 },
    devices: [
      { allow: false, access: 'rwm' },
      { allow: true, type: 'c', major: 1, minor: 3, access: 'rw' },
    ],
  },
};

/** By the file's name: the config's part, and how the runtime is called. */
const sections: Readonly<Record<string, readonly [Partial<Spec>, PlanOptions?]>> = {
  namespaces: [ofLinux(namespaces('pid', 'network', 'ipc', 'uts', 'cgroup'))],
  'namespaces-joined': [
    ofLinux({
      namespaces: [
        { type: 'mount' },
        { type: 'pid', path: '/proc/7/ns/pid' },
        { type: 'network', path: '/var/run/netns/a' },
        { type: 'uts' },
      ],
    }),
  ],
  names: [{ hostname: 'box', domainname: 'example', ...ofLinux(namespaces('uts')) }],
  'user-namespace': [ofLinux({ ...namespaces('user', 'pid', 'network'), uidMappings: ids, gidMappings: ids })],
  'time-namespace': [
    ofLinux({ ...namespaces('time'), timeOffsets: { monotonic: { secs: 7 }, boottime: { secs: 8, nanosecs: 9 } } }),
  ],
  'root-readonly': [{ root: { path: 'rootfs', readonly: true } }],
  'root-propagation': [ofLinux({ rootfsPropagation: 'shared' })],
  'root-without-pivot': [{}, { noPivot: true }],
  'mounts-of-the-kernel': [
    {
      mounts: [
        { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
        { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=65536k'] },
        { destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['newinstance', 'ptmxmode=0666'] },
        { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
        { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue' },
      ],
    },
  ],
  'mounts-bound': [
    {
      mounts: [
        { destination: '/data', type: 'bind', source: '/etc', options: ['rbind', 'ro', 'rslave'] },
        {
          destination: '/etc/hostname',
          type: 'bind',
          source: '/etc/hostname',
          options: ['bind', 'rro', 'nosymfollow'],
        },
      ],
    },
  ],
  'mounts-tmpfs': [{ mounts: [{ destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['tmpcopyup', 'ro'] }] }],
  'cgroup-mount-v1': [
    { mounts: [{ destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['ro'] }] },
    { cgroups: 'v1' },
  ],
  'cgroup-mount-v2': [
    {
      mounts: [{ destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['ro'] }],
      ...ofLinux(namespaces('cgroup')),
    },
  ],
  'cgroups-v1': [ofLinux({ cgroupsPath: '/parent/c', ...limits }), { cgroups: 'v1' }],
  'cgroups-v2': [
    ofLinux({
      cgroupsPath: '/parent/c',
      ...limits,
      resources: { ...limits.resources, unified: { 'memory.high': '1000' } },
    }),
  ],
  devices: [
    ofLinux({
      devices: [
        { path: '/dev/fuse', type: 'c', major: 10, minor: 229, fileMode: 0o600, uid: 1, gid: 2 },
        { path: '/dev/net/tun', type: 'c', major: 10, minor: 200 },
      ],
    }),
  ],
  'masked-and-readonly-paths': [
    ofLinux({ maskedPaths: ['/proc/kcore', '/sys/firmware'], readonlyPaths: ['/proc/sys'] }),
  ],
  sysctl: [ofLinux({ ...namespaces('network'), sysctl: { 'net.ipv4.ip_forward': '1' } })],
  terminal: [
    {
      ...ofProcess({ terminal: true, consoleSize: { width: 80, height: 25 } }),
      mounts: [{ destination: '/dev/pts', type: 'devpts', source: 'devpts' }],
    },
    { consoleSocket: '/run/console.sock' },
  ],
  process: [
    ofProcess({
      user: { uid: 1000, gid: 1000, umask: 0o027, additionalGids: [5, 6] },
      cwd: '/work',
      args: ['program', 'x'],
      oomScoreAdj: 500,
    }),
  ],
  'process-without-home': [ofProcess({ env: ['PATH=/bin'] })],
  'process-run': [{}, { run: true }],
  labels: [
    {
      ...ofProcess({ apparmorProfile: 'profile', selinuxLabel: 'system_u:system_r:container_t:s0' }),
      ...ofLinux({ mountLabel: 'system_u:object_r:container_file_t:s0' }),
    },
  ],
  capabilities: [
    ofProcess({
      capabilities: { bounding: caps, effective: caps, permitted: caps, inheritable: [], ambient: [] },
      user: { uid: 1000, gid: 1000 },
    }),
  ],
  'no-new-privileges': [ofProcess({ noNewPrivileges: true })],
  rlimits: [ofProcess({ rlimits: [{ type: 'RLIMIT_NOFILE', soft: 64, hard: 128 }] })],
  scheduling: [
    {
      ...ofProcess({
        scheduler: { policy: 'SCHED_BATCH', nice: 5 },
        ioPriority: { class: 'IOPRIO_CLASS_BE', priority: 3 },
      }),
      ...ofLinux({ personality: { domain: 'LINUX32' } }),
    },
  ],
  seccomp: [
    ofLinux({
      seccomp: {
        defaultAction: 'SCMP_ACT_ERRNO',
        architectures: ['SCMP_ARCH_X86_64'],
        syscalls: [{ names: ['read', 'write', 'exit_group'], action: 'SCMP_ACT_ALLOW' }],
      },
    }),
  ],
  'seccomp-listener': [
    ofLinux({
      seccomp: {
        defaultAction: 'SCMP_ACT_ALLOW',
        architectures: ['SCMP_ARCH_X86_64'],
        listenerPath: '/run/agent.sock',
        syscalls: [{ names: ['mkdir'], action: 'SCMP_ACT_NOTIFY' }],
      },
    }),
  ],
  hooks: [
    {
      hooks: {
        createRuntime: [{ path: '/usr/bin/one', args: ['one', 'x'], timeout: 5 }],
        createContainer: [{ path: '/usr/bin/two', env: ['A=b'] }],
        startContainer: [{ path: '/three' }],
      },
    },
  ],
};

/** What is done, and by whom; jumps by how many operations, so that they stay the same where others come before. */
function linesOf(plan: Plan): string[] {
  let doing = '';
  return planLines(plan).flatMap((line) => {
    const text = line.text
      .replace(/go to (\d+)/g, (_, to: string) => `skip ${Number(to) - line.number - 1}`)
      .replace(/(\$[a-z_]\w*)\.\d+/g, '$1');
    const heading = line.doing === doing || line.doing === '' ? [] : [`# ${line.group}: ${line.doing}`];
    if (line.doing !== '') ({ doing } = line);
    return [...heading, `${line.process.padEnd(6)} ${text}`];
  });
}

/** What `after` has more and less than `before`, with a line around. */
function difference(before: readonly string[], after: readonly string[]): string[] {
  // Lengths of the longest common subsequences of what follows.
  const common = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1));
  const at = (i: number, j: number): number => common[i]?.[j] ?? 0;
  for (let i = before.length - 1; i >= 0; i--) {
    for (let j = after.length - 1; j >= 0; j--) {
      (common[i] as Uint16Array)[j] =
        before[i] === after[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const lines: string[] = [];
  for (let i = 0, j = 0; i < before.length || j < after.length; ) {
    if (i < before.length && before[i] === after[j]) {
      lines.push(`  ${before[i++]}`);
      j++;
    } else if (j < after.length && (i === before.length || at(i, j + 1) >= at(i + 1, j))) lines.push(`+ ${after[j++]}`);
    else lines.push(`- ${before[i++]}`);
  }
  const near = (index: number) => [-1, 0, 1].some((step) => /^[+-]/.test(lines[index + step] ?? ''));
  return lines.flatMap((line, index) => (near(index) ? [line] : near(index - 1) ? ['  …'] : []));
}

const plain = linesOf(wholePlanOf(least));
const plainV1 = linesOf(wholePlanOf(least, { cgroups: 'v1' }));

function check(name: string, text: string): void {
  const file = join(directory, `${name}.txt`);
  if (write) writeFileSync(file, text);
  assert.equal(readFileSync(file, 'utf8'), text, `${file} is what the plan was; see this test's first lines`);
}

test('golden plan: the least config', () => {
  check('least', `${JSON.stringify(least, null, 1)}\n\n${plain.join('\n')}\n`);
});

for (const [name, [part, options = {}]] of Object.entries(sections)) {
  test(`golden plan: ${name}`, () => {
    const lines = difference(
      options.cgroups === 'v1' ? plainV1 : plain,
      linesOf(wholePlanOf({ ...least, ...part }, options)),
    );
    const called = Object.keys(options).length > 0 ? `called with ${JSON.stringify(options)}\n\n` : '';
    check(name, `${JSON.stringify(part, null, 1)}\n\n${called}${lines.join('\n')}\n`);
  });
}
