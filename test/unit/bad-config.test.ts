/** A config that breaks the specification is refused with the JSON path, the value and the section: every property there is, with every wrong type. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKeelsonError } from '../../src/ground/errors.ts';
import { parseConfig } from '../../src/spec/config.ts';
import * as oci from '../../src/spec/runtime.ts';

const ids = [{ containerID: 0, hostID: 1000, size: 10 }];
const device = { major: 8, minor: 0 };
const hook = [{ path: '/bin/hook', args: ['hook'], env: ['A=b'], timeout: 5 }];

/** Everything that the specification knows of, once. */
const whole = {
  ociVersion: '1.2.1',
  root: { path: 'rootfs', readonly: true },
  hostname: 'box',
  domainname: 'example',
  process: {
    terminal: true,
    consoleSize: { height: 25, width: 80 },
    user: { uid: 1, gid: 2, umask: 18, additionalGids: [3] },
    args: ['true'],
    env: ['A=b'],
    cwd: '/',
    capabilities: {
      bounding: ['CAP_KILL'],
      effective: ['CAP_KILL'],
      inheritable: ['CAP_KILL'],
      permitted: ['CAP_KILL'],
      ambient: ['CAP_KILL'],
    },
    rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1, hard: 2 }],
    noNewPrivileges: true,
    apparmorProfile: 'profile',
    selinuxLabel: 'label',
    oomScoreAdj: 5,
    scheduler: {
      policy: 'SCHED_DEADLINE',
      nice: 1,
      priority: 2,
      flags: ['SCHED_FLAG_RECLAIM'],
      runtime: 2000,
      deadline: 3000,
      period: 4000,
    },
    ioPriority: { class: 'IOPRIO_CLASS_BE', priority: 3 },
    execCPUAffinity: { initial: '0', final: '1' },
  },
  mounts: [
    { destination: '/data', type: 'bind', source: '/data', options: ['rbind'], uidMappings: ids, gidMappings: ids },
  ],
  hooks: {
    prestart: hook,
    createRuntime: hook,
    createContainer: hook,
    startContainer: hook,
    poststart: hook,
    poststop: hook,
  },
  annotations: { key: 'value' },
  linux: {
    uidMappings: ids,
    gidMappings: ids,
    sysctl: { 'net.ipv4.ip_forward': '1' },
    cgroupsPath: '/a/b',
    namespaces: [{ type: 'mount' }, { type: 'user' }, { type: 'network', path: '/run/netns/a' }],
    devices: [{ path: '/dev/fuse', type: 'c', major: 10, minor: 229, fileMode: 438, uid: 0, gid: 0 }],
    netDevices: { eth0: { name: 'eth1' } },
    rootfsPropagation: 'rslave',
    maskedPaths: ['/proc/kcore'],
    readonlyPaths: ['/proc/sys'],
    mountLabel: 'label',
    intelRdt: {
      closID: 'class',
      schemata: ['L3:0=f'],
      l3CacheSchema: 'L3:0=f',
      memBwSchema: 'MB:0=20',
      enableMonitoring: true,
    },
    memoryPolicy: { mode: 'MPOL_BIND', nodes: '0', flags: ['MPOL_F_STATIC_NODES'] },
    personality: { domain: 'LINUX' },
    timeOffsets: { monotonic: { secs: 1, nanosecs: 2 } },
    seccomp: {
      defaultAction: 'SCMP_ACT_ERRNO',
      defaultErrnoRet: 1,
      architectures: ['SCMP_ARCH_X86_64'],
      flags: ['SECCOMP_FILTER_FLAG_LOG'],
      listenerPath: '/run/agent',
      listenerMetadata: 'x',
      syscalls: [
        {
          names: ['read'],
          action: 'SCMP_ACT_ERRNO',
          errnoRet: 2,
          args: [{ index: 0, value: 1, valueTwo: 2, op: 'SCMP_CMP_EQ' }],
        },
      ],
    },
    resources: {
      devices: [{ allow: true, type: 'c', major: 1, minor: 3, access: 'rw' }],
      memory: {
        limit: 1,
        reservation: 1,
        swap: 1,
        kernel: 1,
        kernelTCP: 1,
        swappiness: 1,
        disableOOMKiller: true,
        useHierarchy: true,
        checkBeforeUpdate: true,
      },
      cpu: {
        shares: 2,
        quota: 1,
        burst: 1,
        period: 1,
        realtimeRuntime: 1,
        realtimePeriod: 1,
        cpus: '0',
        mems: '0',
        idle: 1,
      },
      pids: { limit: 5 },
      blockIO: {
        weight: 10,
        leafWeight: 10,
        weightDevice: [{ ...device, weight: 10, leafWeight: 10 }],
        throttleReadBpsDevice: [{ ...device, rate: 1 }],
        throttleWriteBpsDevice: [{ ...device, rate: 1 }],
        throttleReadIOPSDevice: [{ ...device, rate: 1 }],
        throttleWriteIOPSDevice: [{ ...device, rate: 1 }],
      },
      hugepageLimits: [{ pageSize: '2MB', limit: 1 }],
      network: { classID: 1, priorities: [{ name: 'eth0', priority: 1 }] },
      rdma: { mlx5: { hcaHandles: 1, hcaObjects: 1 } },
      unified: { 'memory.high': '1' },
    },
  },
};

type Step = string | number;

/** Every place in the document, with what is there. */
function places(value: unknown, path: readonly Step[] = []): { path: readonly Step[]; value: unknown }[] {
  const inner = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  return [
    { path, value },
    ...inner.flatMap(([key, found]) => places(found, [...path, Array.isArray(value) ? Number(key) : key])),
  ];
}

function changed(path: readonly Step[], to: unknown): unknown {
  const copy: unknown = structuredClone(whole);
  let at = copy as Record<Step, unknown>;
  for (const step of path.slice(0, -1)) at = at[step] as Record<Step, unknown>;
  at[path.at(-1) ?? ''] = to;
  return path.length === 0 ? to : copy;
}

const written = (path: readonly Step[]) =>
  path
    .map((step) =>
      typeof step === 'number'
        ? `[${step}]`
        : /^[A-Za-z_][\w-]*$/.test(step)
          ? `.${step}`
          : `[${JSON.stringify(step)}]`,
    )
    .join('')
    .replace(/^\./, '');

/** Is refused, with this path first or at all; what is said. */
function refused(text: string, path: string): string {
  const error = thrownBy(() => parseConfig(text));
  assert.ok(error !== undefined, `${path}: not refused: ${text.slice(0, 200)}`);
  assert.ok(isKeelsonError(error, 'invalid-argument'), 'it is an error of the config');
  const problems = (error.details as { problems?: readonly { path: string; section: string }[] }).problems ?? [];
  if (path !== '') {
    const found = problems.some((problem) => problem.path === path && /^config[\w-]*\.md/.test(problem.section));
    assert.ok(found, `${path}: ${error.message}`);
  }
  assert.match(error.message, /^config\.json/);
  assert.ok(error.message.length < 1000, 'however long the value is');
  return error.message;
}

function thrownBy(call: () => unknown): unknown {
  try {
    call();
    return undefined;
  } catch (error) {
    return error;
  }
}

test('the whole is allowed', () => {
  assert.doesNotThrow(() => parseConfig(JSON.stringify(whole)));
});

test('every property is refused with every type but its own, by its path', () => {
  let count = 0;
  for (const { path, value } of places(whole)) {
    const kind = Array.isArray(value) ? 'array' : typeof value;
    for (const [other, wrong] of Object.entries({
      string: 'x',
      number: 7,
      boolean: true,
      array: [[]],
      object: { '': 1 },
    })) {
      if (other === kind || (kind === 'object' && other === 'object')) continue;
      const message = refused(JSON.stringify(changed(path, wrong)), written(path));
      assert.match(message, /OCI runtime-spec 1\.3/);
      count++;
    }
  }
  assert.ok(count > 800, String(count));
});

test('every number is refused when it is too large, too small, a fraction, or no number of JSON', () => {
  for (const { path, value } of places(whole).filter((place) => typeof place.value === 'number')) {
    for (const wrong of [1.5, -1e300, 1e300]) refused(JSON.stringify(changed(path, wrong)), written(path));
    const text = JSON.stringify(changed(path, '@@'));
    for (const wrong of ['99999999999999999999999999', '-99999999999999999999999999', '18446744073709551616']) {
      refused(text.replace('"@@"', wrong), written(path));
    }
    for (const wrong of ['NaN', 'Infinity', '0x10', '1_000', '+1', '01']) refused(text.replace('"@@"', wrong), '');
    assert.equal(typeof value, 'number');
  }
});

test('every text is refused with a NUL, and where the kernel reads lines, with more than one', () => {
  for (const { path, value } of places(whole).filter((place) => typeof place.value === 'string')) {
    const key = path.at(-1);
    refused(JSON.stringify(changed(path, `${String(value)}\0x`)), written(path));
    if (
      [
        'apparmorProfile',
        'selinuxLabel',
        'mountLabel',
        'cgroupsPath',
        'net.ipv4.ip_forward',
        'hostname',
        'domainname',
      ].includes(String(key))
    ) {
      refused(JSON.stringify(changed(path, `${String(value)}\nx`)), written(path));
    }
  }
});

test('every word that is one of a few is refused when it is another', () => {
  const words = new Set<string>([
    ...oci.namespaceTypes,
    ...oci.deviceTypes,
    ...oci.seccompActions,
    ...oci.seccompOperators,
    ...oci.seccompFlags,
    ...oci.seccompArchitectures,
    ...oci.rootfsPropagations,
    ...oci.personalityDomains,
    ...oci.schedulerPolicies,
    ...oci.schedulerFlags,
    ...oci.ioPriorityClasses,
    ...oci.memoryPolicyModes,
    ...oci.memoryPolicyFlags,
  ]);
  let count = 0;
  for (const { path, value } of places(whole)) {
    // Of a memory policy runtime/memory-policy.ts checks what goes together.
    if (typeof value !== 'string' || !words.has(value) || path.includes('memoryPolicy')) continue;
    for (const wrong of [
      value.toLowerCase() === value ? value.toUpperCase() : value.toLowerCase(),
      `${value} `,
      'nonesuch',
    ]) {
      assert.match(refused(JSON.stringify(changed(path, wrong)), written(path)), /expected one of|scheduler: /);
    }
    count++;
  }
  assert.ok(count >= 15, String(count));
});

test('what a config can’t be is refused in time, whatever its size', () => {
  const deep = 100_000;
  const began = Date.now();
  for (const text of [
    '',
    '{',
    'null',
    '[]',
    '7',
    '"x"',
    '{"ociVersion":"1.0.0"}',
    '\ufeff{}',
    `${JSON.stringify(whole)}x`,
    JSON.stringify(whole).slice(0, -1),
    `${'['.repeat(deep)}${']'.repeat(deep)}`,
    `${'{"a":'.repeat(deep)}1${'}'.repeat(deep)}`,
    `{"ociVersion":"1.0.0","root":${'{"path":'.repeat(deep)}1${'}'.repeat(deep)}}`,
    JSON.stringify({ ...whole, process: { ...whole.process, args: Array.from({ length: 100_001 }, () => 'x') } }),
    JSON.stringify({ ...whole, hostname: 'x'.repeat(10_000_000) }),
    '\0'.repeat(1000),
  ]) {
    refused(text, '');
  }
  assert.ok(Date.now() - began < 10_000);
});

test('of a key that is given twice the last counts, as in Go; unknown ones are ignored, with any value and any name', () => {
  const text = JSON.stringify(whole);
  assert.equal(parseConfig(text.replace('"hostname":"box"', '"hostname":"first","hostname":"last"')).hostname, 'last');
  refused(text.replace('"hostname":"box"', '"hostname":"first","hostname":7'), 'hostname');
  for (const name of ['unknown', '__proto__', 'constructor', 'toString', '']) {
    for (const { path, value } of places(whole)) {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) continue;
      if (/annotations|sysctl|netDevices|rdma|unified|timeOffsets/.test(written(path))) continue; // keys are data there
      const more = JSON.stringify(changed(path, { ...value, '@@': { any: [1, null] } })).replace(
        '"@@"',
        JSON.stringify(name),
      );
      const read = parseConfig(more);
      assert.equal(read.hostname, 'box', `${written(path)} ${name}`);
    }
  }
  assert.equal(({} as { any?: unknown }).any, undefined);
});
