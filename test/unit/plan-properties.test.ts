/** What holds of the plan of every config: tried on random ones. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodePlan } from '../../src/kernel/encode-plan.ts';
import type { BlobRef, Op, Plan, Reg, Value } from '../../src/kernel/plan.ts';
import { parseConfig, formatConfig } from '../../src/spec/config.ts';
import { randomConfig } from '../support/configs.ts';
import { createPlanOf, type PlanOptions, wholePlanOf } from '../support/plan-of.ts';

const O_CLOEXEC = 0o2000000;
const RESOLVE_NO_MAGICLINKS = 2;
const RESOLVE_BENEATH = 8;
const RESOLVE_IN_ROOT = 16;

type Call = Op & { op: 'syscall' };

/** One plan and the lists of operations of the processes in it, by name. */
interface Case {
  readonly plan: Plan;
  readonly first: readonly Op[];
  readonly all: readonly { readonly name: string; readonly ops: readonly Op[] }[];
}

const seeds = Array.from({ length: 120 }, (_, seed) => seed);
const options = (seed: number): PlanOptions => ({
  ...(seed % 3 === 0 && { cgroups: 'v1' as const }),
  ...(seed % 4 === 1 && { run: true }),
  ...(seed % 7 === 2 && { noPivot: true }),
  ...(seed % 2 === 0 && { consoleSocket: '/run/console.sock' }),
});
const cases: Case[] = seeds.map((seed) => {
  const plan = wholePlanOf(randomConfig(seed), options(seed));
  const all = processes(plan, plan.ops, 'executor');
  const first = all.find(({ name }) => name === 'init')?.ops;
  assert.ok(first, `seed ${seed}`);
  return { plan, first, all };
});

function processes(plan: Plan, ops: readonly Op[], name: string): { name: string; ops: readonly Op[] }[] {
  return [
    { name, ops },
    ...ops.flatMap((op) =>
      op.op === 'clone' ? processes(plan, op.body, (plan.registerNames?.[op.dst.reg] ?? '').replace(/_pid$/, '')) : [],
    ),
  ];
}

const isCall = (op: Op): op is Call => op.op === 'syscall';
const isBlob = (value: Value | undefined): value is BlobRef => typeof value === 'object' && 'blob' in value;
const isReg = (value: Value | undefined): value is Reg => typeof value === 'object' && 'reg' in value;
const textOf = ({ blobs }: Plan, value: Value | undefined): string | undefined => {
  const blob = isBlob(value) ? blobs[value.blob] : undefined;
  return blob?.text?.startsWith('"') ? Buffer.from(blob.init).toString('utf8').replace(/\0.*$/s, '') : undefined;
};
const show = (seed: number, op: Op) => `seed ${seed}: ${op.doing}: ${op.op === 'syscall' ? op.name : op.op}`;

function each(check: (seed: number, found: Case) => void): void {
  for (const seed of seeds) check(seed, cases[seed] as Case);
}

test('a random config is one that the specification allows, and its plan can be encoded', () => {
  for (const seed of seeds) {
    const config = randomConfig(seed);
    parseConfig(formatConfig(config));
    encodePlan(createPlanOf(config, options(seed)).plan);
  }
});

test('every operation says for errors what it does', () => {
  each((seed, { all }) => {
    for (const { ops } of all)
      for (const op of ops) if (op.op !== 'label' && op.op !== 'jump') assert.notEqual(op.doing, '', show(seed, op));
  });
});

/** Which argument has the flag that closes a descriptor on exec, and how it is read. */
const closing: Readonly<Record<string, (call: Call, plan: Plan) => boolean>> = {
  openat: ({ args }) => (Number(args[2]) & O_CLOEXEC) !== 0,
  openat2: ({ args }, plan) => {
    const how = isBlob(args[2]) ? plan.blobs[args[2].blob] : undefined;
    return how !== undefined && (Buffer.from(how.init).readUInt32LE(0) & O_CLOEXEC) !== 0;
  },
  open_tree: ({ args }) => (Number(args[2]) & O_CLOEXEC) !== 0,
  fsopen: ({ args }) => args[1] === 1,
  fsmount: ({ args }) => args[1] === 1,
  socket: ({ args }) => (Number(args[1]) & O_CLOEXEC) !== 0,
  socketpair: ({ args }) => (Number(args[1]) & O_CLOEXEC) !== 0,
  pipe2: ({ args }) => (Number(args[1]) & O_CLOEXEC) !== 0,
  memfd_create: ({ args }) => (Number(args[1]) & 1) !== 0,
  signalfd4: ({ args }) => (Number(args[3]) & O_CLOEXEC) !== 0,
  recvmsg: ({ args }) => (Number(args[2]) & 0x40000000) !== 0,
  bpf: () => true, // always close-on-exec (bpf(2))
  pidfd_open: () => true, // likewise (pidfd_open(2))
  pidfd_getfd: () => true,
  dup3: ({ args }) => Number(args[1]) <= 2,
  fcntl: ({ args }) => args[1] !== 0,
};
const neverAllowed = [
  'open',
  'creat',
  'dup',
  'dup2',
  'pipe',
  'accept',
  'epoll_create',
  'inotify_init',
  'eventfd',
  'signalfd',
];

test('no descriptor is inherited by the program but its streams', () => {
  each((seed, { all, first, plan }) => {
    for (const { ops } of all) {
      for (const op of ops.filter(isCall)) {
        assert.ok(!neverAllowed.includes(op.name), show(seed, op));
        assert.notEqual(closing[op.name]?.(op, plan), false, `${show(seed, op)} without close-on-exec`);
      }
    }
    const calls = first.filter(isCall);
    const closes = calls.findIndex(({ name, args }) => name === 'close_range' && args[0] === 3);
    assert.ok(closes >= 0 && closes < calls.findIndex(({ name }) => name === 'execve'), `seed ${seed}`);
  });
});

test('what waits to be started has closed what it opened, but for what it waits on', () => {
  each((seed, { first, plan }) => {
    const gate = first.findIndex((op) => isCall(op) && op.name === 'read' && /start/.test(op.doing));
    const before = gate < 0 ? first : first.slice(0, gate);
    const opened = new Map<number, Op>();
    for (const op of before) {
      if (isCall(op) && ['openat', 'openat2', 'open_tree', 'fsopen', 'fsmount', 'socket'].includes(op.name) && op.dst)
        opened.set(op.dst.reg, op);
      if (op.op === 'set' && isReg(op.value)) opened.delete(op.value.reg); // another register has it now
    }
    for (const op of before) {
      if (isCall(op) && op.name === 'close' && isReg(op.args[0])) opened.delete(op.args[0].reg);
    }
    // The program's own, as its streams: close-on-exec.
    const left = [...opened.values()].filter((op) => !/terminal|listener|masking|empty directory/.test(op.doing));
    assert.deepEqual(
      left.map((op) => `${show(seed, op)} = ${plan.registerNames?.[isCall(op) && op.dst ? op.dst.reg : 0]}`),
      [],
    );
  });
});

test('paths inside the container are resolved by the root’s descriptor, and no magic link is followed', () => {
  each((seed, { first, plan }) => {
    const enters = first.findIndex((op) => isCall(op) && ['pivot_root', 'chroot'].includes(op.name));
    assert.ok(enters > 0);
    const root = first.findIndex(
      (op) => op.doing === 'mounting the root file system' && isCall(op) && op.name === 'move_mount',
    );
    for (const op of first.slice(root + 1, enters).filter(isCall)) {
      for (const [index, arg] of op.args.entries()) {
        const path = textOf(plan, arg);
        if (path === undefined) continue;
        const inside = /^\/?in\d/.test(path);
        if (op.name === 'openat2') {
          const how = isBlob(op.args[2]) ? Buffer.from(plan.blobs[op.args[2].blob]?.init ?? []) : Buffer.alloc(24);
          const resolve = how.readUInt32LE(16);
          assert.ok(resolve & (RESOLVE_IN_ROOT | RESOLVE_BENEATH), `${show(seed, op)} ${path}`);
          assert.ok(resolve & RESOLVE_NO_MAGICLINKS, `${show(seed, op)} ${path}`);
          assert.ok(isReg(op.args[0]), show(seed, op));
        } else if (inside) {
          // A single name in an open directory is all that anything else may say.
          assert.ok(isReg(op.args[index - 1]) && !path.slice(1).includes('/'), `${show(seed, op)} ${path}`);
        }
      }
    }
  });
});

/** What may come between the filter and the program. */
function isHarmless(op: Op): boolean {
  if (!isCall(op)) return ['label', 'branch', 'jump', 'fail', 'poke', 'peek', 'write'].includes(op.op);
  if (op.name === 'prctl') return op.args[0] === 47; // PR_CAP_AMBIENT
  return ['capset', 'execve', 'exit_group'].includes(op.name);
}

test('the seccomp filter is in force for everything but the last steps, and is the very last of them with no_new_privs', () => {
  each((seed, { all }) => {
    const config = randomConfig(seed);
    for (const { ops } of all) {
      const at = ops.findIndex((op) => isCall(op) && op.name === 'seccomp');
      if (at < 0) continue;
      for (const op of ops.slice(at + 1)) assert.ok(isHarmless(op), show(seed, op));
      if (!config.process?.noNewPrivileges) continue;
      assert.ok(
        !ops.slice(at + 1).some((op) => isCall(op) && op.name !== 'execve' && op.name !== 'exit_group'),
        `seed ${seed}`,
      );
    }
    const filters = all.filter(({ ops }) => ops.some((op) => isCall(op) && op.name === 'seccomp'));
    const confined = config.linux?.seccomp ? 1 + (config.hooks?.startContainer?.length ?? 0) : 0;
    assert.equal(
      filters.length,
      confined,
      `seed ${seed}: the program, and the hooks that are the container's programs`,
    );
  });
});

test('capabilities are given up after their last use, and nothing but the program follows', () => {
  each((seed, { first }) => {
    const calls = first.filter(isCall);
    const last = calls.findLastIndex(({ name }) => name === 'capset');
    assert.ok(last >= 0, `seed ${seed}`);
    for (const call of calls.slice(last + 1)) {
      assert.ok(['prctl', 'seccomp', 'execve', 'exit_group'].includes(call.name), show(seed, call));
    }
    const order = ['setgroups', 'setresgid', 'setresuid'].map((name) =>
      calls.findLastIndex((call) => call.name === name),
    );
    const bounding = calls.findLastIndex(({ name, args }) => name === 'prctl' && args[0] === 24);
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
      `seed ${seed}: groups first`,
    );
    if (bounding >= 0) assert.ok(bounding < (order[2] ?? 0), `seed ${seed}: the bounding set takes CAP_SETPCAP`);
    assert.ok((order[2] ?? 0) < last);
  });
});

test('the mount namespace is cut off from the host’s before anything is mounted', () => {
  each((seed, { first }) => {
    const calls = first.filter(isCall);
    const cut = calls.findIndex(
      ({ doing, name }) => name === 'mount' && doing === 'making the mount namespace private',
    );
    const mounts = calls.findIndex(({ name }) => name === 'move_mount');
    assert.ok(cut >= 0 && cut < mounts, `seed ${seed}`);
  });
});
