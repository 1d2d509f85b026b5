import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import type { LinuxSeccomp, LinuxSeccompArg, LinuxSeccompArch, LinuxSyscall } from '../spec/runtime.ts';
import { seccompOperators } from '../spec/runtime.ts';
import { capabilityNames, defaultCapabilities } from './capabilities.ts';
import { compileSeccomp, seccompFlags } from './seccomp.ts';
import { defaultProfile } from './seccomp-default.ts';
import { parseProfile, resolveProfile } from './seccomp-profile.ts';
import { type Arch, type SyscallArch, syscallName, syscallNames, syscallNumber, x32Bit } from './syscalls.ts';

/** Runs a filter as the kernel does on one call; every jump has to stay inside. */
function run(program: Uint8Array, audit: number, number: number, args: readonly bigint[]): number {
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, number, true);
  data.setUint32(4, audit, true);
  for (const [i, arg] of args.entries()) data.setBigUint64(16 + 8 * i, arg, true);
  let a = 0;
  for (let pc = 0; ; pc++) {
    assert.ok(pc * 8 < program.length, 'the program runs past its end');
    const code = view.getUint16(pc * 8, true);
    const [jt, jf] = [view.getUint8(pc * 8 + 2), view.getUint8(pc * 8 + 3)];
    const k = view.getUint32(pc * 8 + 4, true);
    switch (code) {
      case 0x20:
        a = data.getUint32(k, true);
        break;
      case 0x54:
        a = (a & k) >>> 0;
        break;
      case 0x06:
        return k;
      case 0x05:
        pc += k;
        break;
      case 0x15:
        pc += a === k ? jt : jf;
        break;
      case 0x25:
        pc += a > k ? jt : jf;
        break;
      case 0x35:
        pc += a >= k ? jt : jf;
        break;
      default:
        assert.fail(`code 0x${code.toString(16)}`);
    }
  }
}

const values = { KILL: 0, KILL_THREAD: 0, KILL_PROCESS: 0x80000000, TRAP: 0x30000, ERRNO: 0x50000, NOTIFY: 0x7fc00000 };
const permissive = { TRACE: 0x7ff00000, LOG: 0x7ffc0000, ALLOW: 0x7fff0000 };

function value(action: string, errno = 1): number {
  const name = action.slice('SCMP_ACT_'.length);
  const base = (values as Record<string, number>)[name] ?? (permissive as Record<string, number>)[name] ?? Number.NaN;
  return name === 'ERRNO' || name === 'TRACE' ? base + errno : base;
}

const holds: Record<string, (a: bigint, v: bigint, w: bigint) => boolean> = {
  SCMP_CMP_NE: (a, v) => a !== v,
  SCMP_CMP_LT: (a, v) => a < v,
  SCMP_CMP_LE: (a, v) => a <= v,
  SCMP_CMP_EQ: (a, v) => a === v,
  SCMP_CMP_GE: (a, v) => a >= v,
  SCMP_CMP_GT: (a, v) => a > v,
  SCMP_CMP_MASKED_EQ: (a, v, w) => (a & v) === (w & v),
};

const platforms: { arch: Arch; audit: number; table: SyscallArch; listed: LinuxSeccompArch; bits: bigint }[] = [
  { arch: 'x86_64', audit: 0xc000003e, table: 'x86_64', listed: 'SCMP_ARCH_X86_64', bits: 64n },
  { arch: 'x86_64', audit: 0xc000003e, table: 'x32', listed: 'SCMP_ARCH_X32', bits: 32n },
  { arch: 'x86_64', audit: 0x40000003, table: 'i386', listed: 'SCMP_ARCH_X86', bits: 32n },
  { arch: 'aarch64', audit: 0xc00000b7, table: 'aarch64', listed: 'SCMP_ARCH_AARCH64', bits: 64n },
  { arch: 'aarch64', audit: 0x40000028, table: 'arm', listed: 'SCMP_ARCH_ARM', bits: 32n },
];
const sockets =
  ' socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg'.split(
    ' ',
  );

const ipc: Record<number, string> = {
  ...{ 1: 'semop', 2: 'semget', 3: 'semctl', 4: 'semtimedop', 11: 'msgsnd', 12: 'msgrcv', 13: 'msgget', 14: 'msgctl' },
  ...{ 21: 'shmat', 22: 'shmdt', 23: 'shmget', 24: 'shmctl' },
};

/** The call that one of i386's two multiplexers leads to. */
function behind(name: string | undefined, first: bigint): string | undefined {
  if (name === 'socketcall') return sockets[Number(first)];
  return name === 'ipc' ? ipc[Number(first & 0xffffn)] : undefined;
}

const highestCache = new WeakMap<LinuxSeccomp, Map<SyscallArch, number>>();

function highestNamed(seccomp: LinuxSeccomp, table: SyscallArch): number {
  const cache = highestCache.get(seccomp) ?? new Map<SyscallArch, number>();
  highestCache.set(seccomp, cache);
  let found = cache.get(table);
  if (found === undefined) {
    const names = new Set((seccomp.syscalls ?? []).flatMap((rule) => rule.names));
    const numbers = syscallNames(table)
      .filter((name) => names.has(name))
      .map((name) => syscallNumber(table, name));
    found = numbers.length > 0 ? Math.max(...numbers) : 0xffffffff;
    cache.set(table, found);
  }
  return found;
}

/** The profile read plainly, rule by rule, for one call. */
function naive(
  seccomp: LinuxSeccomp,
  { table, listed, bits }: (typeof platforms)[number],
  number: number,
  args: readonly bigint[],
): number {
  const native = listed === 'SCMP_ARCH_X86_64' || listed === 'SCMP_ARCH_AARCH64';
  if (!native && !seccomp.architectures?.includes(listed)) return 0;
  const fallback = value(seccomp.defaultAction, seccomp.defaultErrnoRet);
  const rules = (seccomp.syscalls ?? []).filter((rule) => value(rule.action, rule.errnoRet) !== fallback);
  const cut = (v: number | bigint | undefined) => BigInt.asUintN(Number(bits), BigInt(v ?? 0));
  const match = (c: LinuxSeccompArg) => holds[c.op]?.(cut(args[c.index]), cut(c.value), cut(c.valueTwo)) ?? false;
  const matches = (rule: LinuxSyscall) => {
    const conditions = rule.args ?? [];
    const indexes = conditions.map((c) => c.index);
    return new Set(indexes).size < indexes.length ? conditions.some(match) : conditions.every(match);
  };
  const name = syscallName(table, number);
  const own = rules.filter((rule) => rule.names.includes(name as string));
  const always = own.find((rule) => !rule.args?.length);
  if (always) return value(always.action, always.errnoRet);
  const through = rules.filter(
    (rule) =>
      table === 'i386' &&
      rule.names.includes(behind(name, cut(args[0])) ?? '') &&
      (!rule.args?.length || !['SCMP_ACT_ALLOW', 'SCMP_ACT_LOG'].includes(rule.action)),
  );
  const found = rules.find((rule) => (own.includes(rule) && matches(rule)) || through.includes(rule));
  if (found) return value(found.action, found.errnoRet);
  const highest = highestNamed(seccomp, table);
  const lets = ['SCMP_ACT_ALLOW', 'SCMP_ACT_LOG', 'SCMP_ACT_TRACE'].includes(seccomp.defaultAction);
  return number > highest && !lets ? value('SCMP_ACT_ERRNO', 38) : fallback;
}

/** Values worth trying around each that the profile compares with. */
function samples(seccomp: LinuxSeccomp): bigint[] {
  const found = new Set([0n, 1n, 2n, 0xffffffffn, 0x100000000n, 2n ** 64n - 1n]);
  for (const rule of seccomp.syscalls ?? []) {
    for (const { value: v, valueTwo } of rule.args ?? []) {
      for (const base of [BigInt(v), BigInt(valueTwo ?? 0)]) {
        for (const near of [base - 1n, base, base + 1n, base + (1n << 32n)]) found.add(BigInt.asUintN(64, near));
      }
    }
  }
  return [...found];
}

/** Every number of every architecture, with argument samples where the profile looks at arguments. */
function agrees(seccomp: LinuxSeccomp, arch: Arch): void {
  const program = compileSeccomp(seccomp, arch);
  assert.equal(program.length % 8, 0);
  const conditional = new Set((seccomp.syscalls ?? []).filter((r) => r.args?.length).flatMap((r) => r.names));
  const tries = samples(seccomp);
  for (const platform of platforms.filter((p) => p.arch === arch)) {
    const base = platform.table === 'x32' ? x32Bit : 0;
    const numbers = Array.from({ length: 601 }, (_, i) => base + i);
    if (platform.table !== 'x86_64') numbers.push(base + 0x0f0001, base + 0x0f0005, base + 0x3ffffffe);
    for (const number of numbers) {
      const name = syscallName(platform.table, number);
      const looks = conditional.has(name ?? '') || name === 'socketcall' || name === 'ipc';
      for (const first of looks ? tries : [7n]) {
        for (const second of looks ? tries.slice(0, 8) : [7n]) {
          const args = [first, second, 0n, first, second, 0n];
          const got = run(program, platform.audit, number, args);
          const expected = naive(seccomp, platform, number, args);
          assert.equal(got, expected, `${platform.table} ${name ?? number} (${args.join(', ')})`);
        }
      }
    }
  }
  assert.equal(run(program, 0xc0000016, 1, []), 0, 'the call of a foreign architecture kills');
}

const kernel = { release: '6.1', major: 6, minor: 1 };
const resolve = (arch: Arch, capabilities: readonly string[]) =>
  resolveProfile(defaultProfile, { arch, kernel, capabilities });

for (const arch of ['x86_64', 'aarch64'] as const) {
  for (const [who, capabilities] of [
    ['a default container', defaultCapabilities],
    ['a container without capabilities', []],
    ['a container with all', capabilityNames],
  ] as const) {
    test(`${arch}: the filter of ${who} agrees with the profile on every call`, () => {
      agrees(resolve(arch, capabilities), arch);
    });
  }
}

test('the default profile: what it is known for', () => {
  const program = compileSeccomp(resolve('x86_64', defaultCapabilities), 'x86_64');
  const returns = (name: string, ...args: number[]) =>
    run(program, 0xc000003e, syscallNumber('x86_64', name), args.map(BigInt)).toString(16);
  const [allow, eperm, enosys] = ['7fff0000', '50001', '50026'];
  assert.equal(returns('read'), allow);
  assert.equal(returns('chroot'), allow, 'CAP_SYS_CHROOT is among the default capabilities');
  for (const name of [
    'mount',
    'unshare',
    'setns',
    'keyctl',
    'bpf',
    'perf_event_open',
    'userfaultfd',
    'io_uring_setup',
  ]) {
    assert.equal(returns(name), eperm, name);
  }
  assert.equal(returns('clone3'), enosys);
  assert.equal(returns('clone', 0x3d0f00), allow);
  assert.equal(returns('clone', 0x10000000), eperm);
  assert.equal(returns('socket', 2), allow);
  assert.equal(returns('socket', 38), eperm);
  assert.equal(returns('socket', 40), eperm);
  assert.equal(returns('socket', 41), allow);
  assert.equal(returns('personality', 0xffffffff), allow);
  assert.equal(returns('personality', 0x40000), eperm);
  assert.equal(run(program, 0xc000003e, 600, []).toString(16), enosys, 'a call from the future');
  assert.equal(run(program, 0xc000003e, 0xffffffff, []).toString(16), enosys, 'a call that a tracer skipped');
});

test('every action, operator and errno', () => {
  const actions = ['KILL', 'KILL_PROCESS', 'KILL_THREAD', 'TRAP', 'ERRNO', 'TRACE', 'ALLOW', 'LOG', 'NOTIFY'] as const;
  const numbers = [0n, 5n, 0xffffffffn, 0x100000000n, 0x500000005n, 2n ** 64n - 1n];
  const syscalls: LinuxSyscall[] = actions.map((action, i) => ({
    names: [syscallNames('x86_64')[i + 10] as string],
    action: `SCMP_ACT_${action}`,
    ...(action === 'ERRNO' || action === 'TRACE' ? { errnoRet: 100 + i } : {}),
  }));
  for (const [i, op] of seccompOperators.entries()) {
    for (const [j, v] of numbers.entries()) {
      const names = [syscallNames('x86_64')[40 + i * numbers.length + j] as string];
      syscalls.push({ names, action: 'SCMP_ACT_ERRNO', errnoRet: 9, args: [{ index: 0, op, value: v, valueTwo: 5n }] });
    }
  }
  const architectures = ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'] as const;
  for (const defaultAction of ['SCMP_ACT_ALLOW', 'SCMP_ACT_KILL_PROCESS', 'SCMP_ACT_LOG', 'SCMP_ACT_TRAP'] as const) {
    agrees({ defaultAction, architectures, syscalls, listenerPath: '/run/agent' }, 'x86_64');
  }
});

test('conditions on different arguments all count, on the same argument one is enough', () => {
  const rule = (args: LinuxSeccompArg[]): LinuxSeccomp => ({
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: [{ names: ['ioctl'], action: 'SCMP_ACT_ERRNO', args }],
  });
  agrees(
    rule([
      { index: 0, op: 'SCMP_CMP_EQ', value: 1 },
      { index: 1, op: 'SCMP_CMP_GT', value: 2 },
    ]),
    'x86_64',
  );
  agrees(
    rule([
      { index: 1, op: 'SCMP_CMP_EQ', value: 1 },
      { index: 1, op: 'SCMP_CMP_EQ', value: 2 },
    ]),
    'aarch64',
  );
});

test('a rule without conditions counts before those with, whichever comes first', () => {
  const syscalls: LinuxSyscall[] = [
    { names: ['ioctl'], action: 'SCMP_ACT_TRAP', args: [{ index: 1, op: 'SCMP_CMP_EQ', value: 1 }] },
    { names: ['ioctl', 'read'], action: 'SCMP_ACT_LOG' },
    { names: ['read'], action: 'SCMP_ACT_TRAP' },
  ];
  const program = compileSeccomp({ defaultAction: 'SCMP_ACT_ALLOW', syscalls }, 'x86_64');
  assert.equal(run(program, 0xc000003e, 16, [0n, 1n]), 0x7ffc0000);
  assert.equal(run(program, 0xc000003e, 0, []), 0x7ffc0000);
  agrees({ defaultAction: 'SCMP_ACT_ALLOW', syscalls }, 'x86_64');
});

test('what is forbidden on i386 cannot be had through socketcall or ipc instead', () => {
  const architectures = ['SCMP_ARCH_X86'] as const;
  const forbid = (names: string[], args: LinuxSeccompArg[] = []): LinuxSeccomp => ({
    defaultAction: 'SCMP_ACT_ALLOW',
    architectures,
    syscalls: [{ names, action: 'SCMP_ACT_ERRNO', args }],
  });
  const alg = compileSeccomp(forbid(['socket'], [{ index: 0, op: 'SCMP_CMP_EQ', value: 38 }]), 'x86_64');
  assert.equal(run(alg, 0x40000003, 102, [1n]), 0x50001);
  assert.equal(run(alg, 0x40000003, 102, [2n]), 0x7fff0000);
  assert.equal(run(alg, 0x40000003, 359, [2n]), 0x7fff0000);
  assert.equal(run(alg, 0x40000003, 359, [38n]), 0x50001);
  const shm = compileSeccomp(forbid(['shmget']), 'x86_64');
  assert.equal(run(shm, 0x40000003, 117, [23n]), 0x50001);
  assert.equal(run(shm, 0x40000003, 117, [0x10017n]), 0x50001, 'with a version in the upper half');
  assert.equal(run(shm, 0x40000003, 117, [24n]), 0x7fff0000);
  const allow: LinuxSeccomp = {
    defaultAction: 'SCMP_ACT_ERRNO',
    architectures,
    syscalls: [
      { names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, op: 'SCMP_CMP_EQ', value: 2 }] },
      { names: ['bind'], action: 'SCMP_ACT_ALLOW' },
    ],
  };
  const some = compileSeccomp(allow, 'x86_64');
  assert.equal(run(some, 0x40000003, 102, [1n]), 0x50001, 'its family cannot be seen');
  assert.equal(run(some, 0x40000003, 102, [2n]), 0x7fff0000);
});

test('calls of x32 are judged by their own table, or kill when it is not listed', () => {
  const syscalls: LinuxSyscall[] = [{ names: ['execve', 'read'], action: 'SCMP_ACT_ERRNO' }];
  const without = compileSeccomp({ defaultAction: 'SCMP_ACT_ALLOW', syscalls }, 'x86_64');
  assert.equal(run(without, 0xc000003e, x32Bit + 1, []), 0);
  const listed = compileSeccomp(
    { defaultAction: 'SCMP_ACT_ALLOW', architectures: ['SCMP_ARCH_X32'], syscalls },
    'x86_64',
  );
  assert.equal(run(listed, 0xc000003e, x32Bit + 520, []), 0x50001);
  assert.equal(run(listed, 0xc000003e, x32Bit + 59, []), 0x7fff0000);
  assert.equal(run(listed, 0xc000003e, 59, []), 0x50001);
});

test('a filter with long jumps still agrees: each call another errno, conditions on many', () => {
  const names = syscallNames('x86_64');
  const syscalls = names.map((name, i): LinuxSyscall => {
    const base: LinuxSyscall = { names: [name], action: 'SCMP_ACT_ERRNO', errnoRet: i + 1 };
    return i % 3 === 0 ? { ...base, args: [{ index: 0, op: 'SCMP_CMP_GE', value: 2n ** 40n + BigInt(i) }] } : base;
  });
  const seccomp: LinuxSeccomp = { defaultAction: 'SCMP_ACT_KILL', architectures: ['SCMP_ARCH_X32'], syscalls };
  const program = compileSeccomp(seccomp, 'x86_64');
  assert.ok(program.length / 8 > 1500);
  for (const platform of platforms.slice(0, 2)) {
    const base = platform.table === 'x32' ? x32Bit : 0;
    for (let n = 0; n <= 600; n++) {
      for (const first of [0n, 2n ** 40n + 100n]) {
        const expected = naive(seccomp, platform, base + n, [first]);
        assert.equal(run(program, platform.audit, base + n, [first]), expected, `${platform.table} ${n}`);
      }
    }
  }
});

test('a filter beyond what the kernel takes is refused', () => {
  const syscalls = syscallNames('x86_64').map(
    (name, i): LinuxSyscall => ({
      names: [name],
      action: 'SCMP_ACT_ERRNO',
      args: Array.from(
        { length: 6 },
        (_, index) => ({ index, op: 'SCMP_CMP_GT', value: 2n ** 40n + BigInt(i) }) as const,
      ),
    }),
  );
  assert.throws(
    () => compileSeccomp({ defaultAction: 'SCMP_ACT_ALLOW', syscalls }, 'x86_64'),
    (e) => isKeelsonError(e, 'unsupported') && /4096/.test(e.message),
  );
});

test('names that no table has, and empty profiles', () => {
  agrees(
    { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['no_such_call'], action: 'SCMP_ACT_KILL' }] },
    'x86_64',
  );
  agrees({ defaultAction: 'SCMP_ACT_KILL' }, 'aarch64');
  assert.equal(compileSeccomp({ defaultAction: 'SCMP_ACT_ALLOW' }, 'aarch64').length / 8, 5);
});

test('notify: not for everything, not for write, not without an agent', () => {
  const notify = (names: string[], more: Partial<LinuxSeccomp> = {}): LinuxSeccomp => ({
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: [{ names, action: 'SCMP_ACT_NOTIFY' }],
    listenerPath: '/run/agent',
    ...more,
  });
  for (const bad of [
    notify(['write']),
    notify(['mknod'], { defaultAction: 'SCMP_ACT_NOTIFY' }),
    { ...notify(['mknod']), listenerPath: undefined },
  ]) {
    assert.throws(
      () => compileSeccomp(bad as LinuxSeccomp, 'x86_64'),
      (e) => isKeelsonError(e, 'invalid-argument'),
    );
  }
  assert.equal(seccompFlags(notify(['mknod'])), 8 | 4);
});

test('flags', () => {
  assert.equal(seccompFlags({ defaultAction: 'SCMP_ACT_ALLOW' }), 4);
  assert.equal(seccompFlags({ defaultAction: 'SCMP_ACT_ALLOW', flags: [] }), 0);
  assert.equal(
    seccompFlags({ defaultAction: 'SCMP_ACT_ALLOW', flags: ['SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_LOG'] }),
    2,
  );
});

test("docker's profile files: conditions, old and new forms", () => {
  const profile = parseProfile(
    JSON.stringify({
      defaultAction: 'SCMP_ACT_ERRNO',
      archMap: [
        { architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] },
        { architecture: 'SCMP_ARCH_RISCV64', subArchitectures: null },
      ],
      syscalls: [
        { names: ['read'], action: 'SCMP_ACT_ALLOW', args: null, comment: '', includes: {}, excludes: {} },
        { name: 'write', action: 'SCMP_ACT_ALLOW' },
        { names: ['mount'], action: 'SCMP_ACT_ALLOW', includes: { caps: ['CAP_SYS_ADMIN', 'CAP_CHOWN'] } },
        { names: ['clone'], action: 'SCMP_ACT_ALLOW', excludes: { caps: ['CAP_SYS_ADMIN'], arches: ['s390x'] } },
        { names: ['ptrace'], action: 'SCMP_ACT_ALLOW', includes: { minKernel: '4.8' } },
        { names: ['set_tls'], action: 'SCMP_ACT_ALLOW', includes: { arches: ['arm64'] } },
      ],
    }),
    'profile.json',
  );
  assert.ok(profile);
  const names = (arch: Arch, capabilities: string[], minor = 10) => {
    const resolved = resolveProfile(profile, { arch, capabilities, kernel: { release: '', major: 4, minor } });
    return [...(resolved.architectures ?? []), ...(resolved.syscalls ?? []).flatMap((rule) => rule.names)].join(' ');
  };
  assert.equal(names('x86_64', []), 'SCMP_ARCH_X86_64 SCMP_ARCH_X86 read write clone ptrace');
  assert.equal(names('x86_64', ['CAP_SYS_ADMIN']), 'SCMP_ARCH_X86_64 SCMP_ARCH_X86 read write ptrace');
  assert.equal(names('aarch64', ['CAP_SYS_ADMIN', 'CAP_CHOWN'], 7), 'read write mount set_tls');
  assert.equal(parseProfile('{}', 'profile.json'), undefined);
});

for (const [what, json, message] of [
  ['not JSON', '{', /profile\.json is not JSON/],
  ['not an object', '[]', /a JSON object/],
  ['an unknown action', '{"defaultAction":"SCMP_ACT_NO"}', /defaultAction/],
  [
    'both forms of architectures',
    '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}',
    /both architectures and archMap/,
  ],
  [
    'both forms of names',
    '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_KILL"}]}',
    /both name and names/,
  ],
  [
    'a kernel version of three parts',
    '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","action":"SCMP_ACT_KILL","includes":{"minKernel":"4.8.1"}}]}',
    /minKernel/,
  ],
  ['a rule that is no object', '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[7]}', /syscalls\[0\]/],
] as const) {
  test(`a profile is refused: ${what}`, () => {
    assert.throws(
      () => parseProfile(json, 'profile.json'),
      (e) => isKeelsonError(e, 'invalid-argument') && message.test(e.message),
    );
  });
}
