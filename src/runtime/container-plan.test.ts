import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Op, Plan } from '../kernel/plan.ts';
import type { LinuxNamespaceType, Spec } from '../spec/runtime.ts';
import { containerPlan, type ContainerPlanInput } from './container-plan.ts';

const strict = ['nosuid', 'noexec', 'nodev'];

function input(change: Partial<ContainerPlanInput> = {}, spec: Partial<Spec> = {}): ContainerPlanInput {
  const types: LinuxNamespaceType[] = ['mount', 'pid', 'ipc', 'uts', 'network', 'cgroup'];
  return {
    arch: 'x86_64',
    spec: {
      ociVersion: '1.2.1',
      root: { path: 'rootfs', readonly: true },
      hostname: 'box',
      process: { user: { uid: 0, gid: 0 }, cwd: '/' },
      mounts: [
        { destination: '/proc', type: 'proc', source: 'proc', options: strict },
        { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
        { destination: '/etc/hosts', type: 'bind', source: '/etc/hosts', options: ['rbind', 'ro'] },
      ],
      linux: {
        namespaces: types.map((type) => ({ type })),
        sysctl: { 'net.ipv4.ip_unprivileged_port_start': '0' },
        maskedPaths: ['/proc/kcore'],
        readonlyPaths: ['/proc/sys'],
      },
      ...spec,
    },
    root: { kind: 'overlay', lower: ['/layers/b', '/layers/a'], upper: '/c/upper', work: '/c/work' },
    mountPoint: '/c/root',
    lowerdirPlus: true,
    mountFacts: { cgroup: { unified: true, hierarchies: [] } },
    seccomp: { filter: new Uint8Array(16), flags: 0 },
    process: {
      args: ['sh', '-c', 'true'],
      env: ['PATH=/usr/bin:/bin'],
      cwd: '/work',
      createCwd: true,
      user: { uid: 1000, gid: 1000, additionalGids: [4] },
      umask: 0o022,
      capabilities: { bounding: [0], effective: [], permitted: [], inheritable: [], ambient: [] },
      lastCapability: 40,
      heldCapabilities: [0, 21],
      rlimits: [],
      noNewPrivileges: false,
      setgroups: true,
    },
    idMapper: { kind: 'direct' },
    openStdin: false,
    keep: { stdinOnce: false, socket: '/run/c/keeper.sock', exitRecord: '/run/c/exit.json', snapshots: [] },
    ...change,
  };
}

function bodyOf(plan: Plan, name: string): readonly Op[] {
  const clone = plan.ops.find((op) => op.op === 'clone' && plan.registerNames?.[op.dst.reg] === `${name}_pid`);
  assert.ok(clone?.op === 'clone');
  return clone.body;
}

const calls = (ops: readonly Op[]): string[] => ops.flatMap((op) => (op.op === 'syscall' ? [op.name] : []));

test('seccomp comes after the gate and before capabilities; nothing but exec follows', () => {
  const names = calls(bodyOf(containerPlan(input()).plan, 'init'));
  const after = names.slice(names.indexOf('seccomp') + 1);
  assert.deepEqual([...new Set(after)], ['capset', 'prctl', 'execve']);
  assert.equal(names.filter((n) => n === 'seccomp').length, 1);
  assert.ok(names.lastIndexOf('read') < names.indexOf('seccomp'), 'the gate is read before');
  assert.ok(names.indexOf('setresuid') < names.indexOf('seccomp'));
});

test('no_new_privs is set before seccomp, and no capability is raised for it', () => {
  const base = input();
  const names = calls(
    bodyOf(containerPlan({ ...base, process: { ...base.process, noNewPrivileges: true } }).plan, 'init'),
  );
  assert.equal(names.filter((n) => n === 'capset').length, 1);
});

test('every descriptor is made close-on-exec', () => {
  const O_CLOEXEC = 0o2000000;
  const flagOf: Readonly<Record<string, number>> = { openat: 2, open_tree: 2, pipe2: 1, socketpair: 1 };
  const walk = (ops: readonly Op[], plan: Plan): void => {
    for (const op of ops) {
      if (op.op === 'clone') walk(op.body, plan);
      if (op.op !== 'syscall') continue;
      const at = flagOf[op.name];
      if (at !== undefined) assert.ok(Number(op.args[at]) & O_CLOEXEC, `${op.doing}: ${op.name}`);
      if (op.name === 'openat2') {
        const how = op.args[2];
        assert.ok(typeof how === 'object' && 'blob' in how);
        const bytes = Buffer.from(plan.blobs[how.blob]?.init ?? []);
        assert.ok(Number(bytes.readBigUInt64LE(0)) & O_CLOEXEC, `${op.doing}: openat2`);
      }
    }
  };
  const { plan } = containerPlan(input());
  walk(plan.ops, plan);
});

test('inside the root paths are resolved by openat2 with RESOLVE_IN_ROOT or RESOLVE_BENEATH only', () => {
  const { plan } = containerPlan(input());
  for (const op of bodyOf(plan, 'init')) {
    if (op.op !== 'syscall' || op.name !== 'openat2') continue;
    const how = op.args[2];
    assert.ok(typeof how === 'object' && 'blob' in how);
    const resolve = Number(Buffer.from(plan.blobs[how.blob]?.init ?? []).readBigUInt64LE(16));
    assert.ok(resolve & 0x18, op.doing);
    assert.ok(resolve & 0x02, 'no magic links');
  }
});

test('the working directory is checked to lie inside (CVE-2024-21626)', () => {
  const ops = bodyOf(containerPlan(input()).plan, 'init');
  const chdir = ops.findLastIndex((op) => op.op === 'syscall' && op.name === 'chdir');
  const rest = ops.slice(chdir + 1, chdir + 6).map((op) => op.op);
  assert.deepEqual(rest, ['label', 'syscall', 'peek', 'branch', 'fail']);
});

test('a user to be looked up stops the plan at a sync, and the answer goes on from there', () => {
  const { plan, continue: resume } = containerPlan(input({ user: { user: 'web', groupAdd: [], setHome: true } }));
  assert.equal(bodyOf(plan, 'init').at(-1)?.op, 'sync');
  assert.ok(resume);
  const passwd = Buffer.from('web:x:33:33::/var/www:/bin/sh\n');
  const chunk = resume([passwd, Buffer.alloc(0)], [BigInt(passwd.length), 0n]);
  assert.ok(calls(chunk.ops).includes('execve'));
  assert.ok(chunk.blobs.some((b) => Buffer.from(b.init).includes('HOME=/var/www')));
  assert.ok(chunk.registers > plan.registers);
  assert.throws(() => resume([Buffer.alloc(0), Buffer.alloc(0)], [0n, 0n]), /unable to find user web/);
});

test('a bare command is tried along PATH, and not finding it is an error of its own', () => {
  const ops = bodyOf(containerPlan(input()).plan, 'init');
  assert.equal(calls(ops).filter((n) => n === 'execve').length, 2);
  assert.equal(ops.at(-1)?.op, 'fail');
});

test('a shorter stack of layers fits one page of mount(2) options on kernels before 6.7', () => {
  const { plan } = containerPlan(
    input({
      lowerdirPlus: false,
      root: { kind: 'overlay', lower: ['/data/l/b', '/data/l/a'], upper: '/data/c/upper', work: '/data/c/work' },
    }),
  );
  const texts = plan.blobs.map((b) => b.text ?? '');
  assert.ok(texts.some((t) => t.includes('lowerdir=l/b:l/a,upperdir=c/upper,workdir=c/work')));
});
