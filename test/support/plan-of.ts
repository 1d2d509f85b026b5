/** The whole plan of a config on a machine that is always the same: what `create` would do there, every answer of the planner in its place. */
import { cgroupDriver } from '../../src/kernel/cgroup.ts';
import type { CgroupFacts } from '../../src/kernel/facts-cgroup.ts';
import { gatherFacts, type HostFacts } from '../../src/kernel/facts.ts';
import type { BlobSpec, Op, Plan } from '../../src/kernel/plan.ts';
import { unasked } from '../../src/kernel/plan.ts';
import type { PlanMessage } from '../../src/kernel/plan-answers.ts';
import { compileSeccomp, seccompFlags } from '../../src/kernel/seccomp.ts';
import { createPlan, type CreatePlan } from '../../src/runtime/create-plan.ts';
import { hostInput, processInput } from '../../src/runtime/host-input.ts';
import { validateConfig } from '../../src/spec/config.ts';
import type { Spec } from '../../src/spec/runtime.ts';

const own = '/user';
const unified: CgroupFacts = {
  mode: 'unified',
  v1: [],
  v2: {
    mountPoint: '/sys/fs/cgroup',
    root: '/',
    own,
    controllers: ['cpuset', 'cpu', 'io', 'memory', 'hugetlb', 'pids', 'rdma'],
  },
};
const legacy: CgroupFacts = {
  mode: 'legacy',
  v1: ['cpu,cpuacct', 'cpuset', 'memory', 'pids', 'devices', 'freezer', 'blkio'].map((name) => ({
    mountPoint: `/sys/fs/cgroup/${name}`,
    root: '/',
    own,
    controllers: name.split(','),
  })),
};

function machine(cgroup: CgroupFacts): HostFacts {
  const nothing = gatherFacts(() => undefined, { arch: 'x86_64', uid: 0, euid: 0, egid: 0 });
  const all = Array.from({ length: 41 }, (_, number) => number);
  return {
    ...nothing,
    kernel: { ...nothing.kernel, major: 6, minor: 12 },
    capabilities: { effective: all, bounding: all },
    lastCapability: 40,
    cgroup,
    apparmor: true,
    selinux: true,
  };
}

export interface PlanOptions {
  readonly cgroups?: 'v1' | 'v2';
  readonly consoleSocket?: string;
  readonly noPivot?: boolean;
  readonly run?: boolean;
}

/** Throws what the checks of a config throw. */
export function createPlanOf(config: Spec, options: PlanOptions = {}): CreatePlan {
  const spec = validateConfig(config);
  const facts = machine(options.cgroups === 'v1' ? legacy : unified);
  const driver = cgroupDriver(facts.cgroup);
  const cgroup = driver.locate(facts.cgroup, spec.linux?.cgroupsPath ?? '/keelson/c');
  const { seccomp } = spec.linux ?? {};
  const has = (type: string) => spec.linux?.namespaces?.some((n) => n.type === type) ?? false;
  return createPlan({
    spec,
    ...hostInput(facts),
    rootfs: '/bundle/rootfs',
    cgroup: driver.create(
      facts.cgroup,
      { cgroup, resources: spec.linux?.resources ?? {}, skipDevices: false },
      () => undefined,
    ),
    ...(seccomp && {
      seccomp: {
        filter: compileSeccomp(seccomp, facts.arch),
        flags: seccompFlags(seccomp),
        ...(seccomp.listenerPath !== undefined && { listener: { path: seccomp.listenerPath, grab: true } }),
      },
    }),
    process: processInput(spec.process ?? { user: { uid: 0, gid: 0 }, cwd: '/' }, facts, {
      createCwd: false,
      setgroups: true,
      userNamespace: has('user'),
    }),
    idMapper: { kind: 'direct' },
    inUserNamespace: false,
    privileged: true,
    ...(!options.run && { fifo: '/run/state/c/exec.fifo' }),
    ...(options.consoleSocket !== undefined && { consoleSocket: options.consoleSocket }),
    hooks: {},
    preserveFds: 0,
    channel: 5,
    newKeyring: true,
    pivot: !options.noPivot,
    ...(options.noPivot && { bareMounts: ['/sys', '/proc'] }),
  });
}

export function wholePlanOf(config: Spec, options: PlanOptions = {}): Plan {
  return whole(createPlanOf(config, options));
}

/** Chunks have numbers of their own, in the line of those that one process is sent: here they get places behind all others. */
interface Line {
  registers: number;
  blobs: number;
  readonly places: Map<string, number>;
}

/** With the chunks that answer its syncs in their place. */
function whole(created: CreatePlan): Plan {
  const { plan } = created;
  const blobs: BlobSpec[] = [...plan.blobs];
  const names: Record<number, string> = { ...plan.registerNames };
  let registers = plan.registers;
  let labels = 1 << 20;
  const line = (): Line => ({ registers: plan.registers, blobs: plan.blobs.length, places: new Map() });
  const [executor, process] = [line(), line()];
  const place = (chunk: Plan, to: Line): readonly Op[] => {
    for (let number = to.registers; number < chunk.registers; number++) {
      names[registers] = chunk.registerNames?.[number] ?? 'r';
      to.places.set(`reg ${number}`, registers++);
    }
    for (const index of chunk.blobs.keys()) to.places.set(`blob ${to.blobs + index}`, blobs.length + index);
    const shift = labels;
    labels += 1 << 12;
    const moved = <T>(value: T): T => {
      if (Array.isArray(value)) return value.map(moved) as T;
      if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
      return Object.fromEntries(
        Object.entries(value).map(([key, inner]: [string, unknown]) => {
          if (typeof inner !== 'number' || !['reg', 'blob', 'label'].includes(key)) return [key, moved(inner)];
          return [key, key === 'label' ? inner + shift : (to.places.get(`${key} ${inner}`) ?? inner)];
        }),
      ) as T;
    };
    blobs.push(...chunk.blobs.map(moved));
    to.registers = chunk.registers;
    to.blobs += chunk.blobs.length;
    return chunk.ops.map(moved);
  };
  const unfold = (ops: readonly Op[]): Op[] =>
    ops.flatMap((op): Op[] => {
      if (op.op === 'clone') return [{ ...op, body: unfold(op.body) }];
      if (op.op !== 'sync') return [op];
      const chunk = answerOf(created, op, blobs);
      if (!chunk) return [op];
      return unfold(place(chunk, op.tag >= 1000 ? process : executor));
    });
  // What the process is sent first stands where the executor's own syncs come later: the child is unfolded first in any case.
  return { ...plan, ops: unfold(plan.ops), blobs, registers, registerNames: names };
}

/** What depends on what the machine says stays a question. */
function answerOf(created: CreatePlan, op: Op & { op: 'sync' }, blobs: readonly BlobSpec[]): Plan | undefined {
  if (op.tag === unasked) return created.rest?.();
  if (op.tag >= 1000 && op.regs.length > 0) return undefined;
  const message: PlanMessage = {
    tag: op.tag,
    registers: op.regs.map(() => 0n),
    blobs: op.blobs.map(({ blob }) => Buffer.alloc(blobs[blob]?.size ?? 0)),
  };
  try {
    return created.resume(message, (status) =>
      JSON.stringify({ ociVersion: '1.2.1', id: 'c', status, pid: 7, bundle: '/bundle' }),
    );
  } catch {
    return undefined;
  }
}
