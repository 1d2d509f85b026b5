/** Making, joining and removing a container's control groups, from the data that kernel/cgroup.ts computes. */
import { AT_FDCWD, AT_REMOVEDIR, O_CLOEXEC, O_PATH, O_WRONLY } from '../kernel/constants.ts';
import type { BlobRef, Reg } from '../kernel/plan.ts';
import type { PlanBuilder, Rules } from '../kernel/plan-builder.ts';

export interface CgroupWrite {
  /** Name within the directory: `memory.max`. */
  readonly file: string;
  readonly value: string;
  /** Of a file that isn't there or refuses: `fail`, or go on (`create` has warned). */
  readonly whenMissing: 'ignore' | 'warn' | 'fail';
}

/** One directory of a cgroup hierarchy, absolute. */
export interface CgroupDirectory {
  readonly path: string;
  readonly writes: readonly CgroupWrite[];
  /** The container's own: its processes join it and it is removed at the end; else a parent, which stays. */
  readonly leaf: boolean;
}

export interface CgroupPlan {
  /** Parents before children. One leaf a hierarchy. */
  readonly directories: readonly CgroupDirectory[];
  /** cgroup v2: the leaf that clone3 puts the child into (Linux 5.7); others are joined by writing cgroup.procs. */
  readonly cloneInto?: string;
}

/** Registers of a cgroup that was made or opened. */
export interface CgroupHandle {
  readonly plan: CgroupPlan;
  readonly cloneInto: Reg | undefined;
}

export function createCgroup(b: PlanBuilder, plan: CgroupPlan): CgroupHandle {
  b.group('cgroup');
  for (const { path, writes } of plan.directories) {
    b.doing(`making the cgroup ${path}`);
    b.sys('mkdirat', [AT_FDCWD, path, 0o755], { on: { EEXIST: 'continue' } });
    for (const write of writes) writeFile(b, path, write);
  }
  return openCgroup(b, plan);
}

export function openCgroup(b: PlanBuilder, plan: CgroupPlan): CgroupHandle {
  b.group('cgroup').doing('opening the cgroup');
  const cloneInto =
    plan.cloneInto === undefined ? undefined : b.sys('openat', [AT_FDCWD, plan.cloneInto, O_PATH | O_CLOEXEC]);
  return { plan, cloneInto };
}

function writeFile(b: PlanBuilder, directory: string, { file, value, whenMissing }: CgroupWrite): void {
  const doing = `writing ${JSON.stringify(value)} to ${directory}/${file}`;
  const next = b.label();
  const on: Rules = whenMissing === 'fail' ? {} : { any: next };
  const fd = b.sys('openat', [AT_FDCWD, `${directory}/${file}`, O_WRONLY | O_CLOEXEC], { doing, on });
  b.write(fd, value, { doing, on: whenMissing === 'fail' ? {} : { any: 'continue' } });
  b.sys('close', [fd]);
  b.place(next);
}

/** Moves `pid` into every leaf that clone3 did not put it into. */
export function joinCgroup(b: PlanBuilder, { plan }: CgroupHandle, pid: Reg): void {
  const leaves = plan.directories.filter((d) => d.leaf && d.path !== plan.cloneInto);
  if (leaves.length === 0) return;
  b.group('cgroup').doing('joining the cgroup');
  const digits: BlobRef = b.blob(24, '<pid>');
  const length = b.format(digits, pid);
  for (const { path } of leaves) {
    const doing = `joining ${path}`;
    const fd = b.sys('openat', [AT_FDCWD, `${path}/cgroup.procs`, O_WRONLY | O_CLOEXEC], { doing });
    b.write(fd, digits, { doing, size: length });
    b.sys('close', [fd]);
  }
}

/** When the processes are gone: EBUSY lasts until the last one is reaped. */
export function removeCgroup(b: PlanBuilder, plan: CgroupPlan): void {
  b.group('cgroup');
  for (const { path, leaf } of plan.directories.toReversed()) {
    if (!leaf) continue;
    b.sys('unlinkat', [AT_FDCWD, path, AT_REMOVEDIR], {
      doing: `removing the cgroup ${path}`,
      on: { EBUSY: { retryMs: 2000 }, ENOENT: 'continue' },
    });
  }
}
