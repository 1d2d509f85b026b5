/** Making, joining and removing a container's control groups, from what the drivers in kernel/ compute. */
import type { CgroupPlan, CgroupWrite } from '../kernel/cgroup-driver.ts';
import { AT_FDCWD, AT_REMOVEDIR, O_CLOEXEC, O_RDONLY, O_WRONLY, openFlags } from '../kernel/constants.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder, Rules } from '../kernel/plan-builder.ts';

/** Registers of a cgroup that was made or opened. */
export interface CgroupHandle {
  readonly plan: Pick<CgroupPlan, 'directories' | 'cloneInto'>;
  readonly cloneInto: Reg | undefined;
}

export function createCgroup(b: PlanBuilder, plan: CgroupPlan): CgroupHandle {
  b.group('cgroup');
  for (const { path, writes } of plan.directories) {
    b.doing(`making the cgroup ${path}`);
    b.sys('mkdirat', [AT_FDCWD, path, 0o755], { on: { EEXIST: 'continue' } });
    for (const write of writes) writeFile(b, path, write);
  }
  const handle = openCgroup(b, plan);
  if (plan.delegate) delegate(b, plan);
  if (plan.deviceProgram && handle.cloneInto) attachDeviceProgram(b, handle.cloneInto, plan.deviceProgram);
  return handle;
}

export function openCgroup(b: PlanBuilder, plan: Pick<CgroupPlan, 'directories' | 'cloneInto'>): CgroupHandle {
  const { O_DIRECTORY } = openFlags(b.arch);
  b.group('cgroup').doing(`error adding pid of the process to cgroups: ${plan.cloneInto}/cgroup.procs`);
  const cloneInto =
    plan.cloneInto === undefined
      ? undefined
      : b.sys('openat', [AT_FDCWD, plan.cloneInto, O_RDONLY | O_DIRECTORY | O_CLOEXEC]);
  return { plan, cloneInto };
}

function delegate(b: PlanBuilder, { cloneInto = '', delegate: to }: CgroupPlan): void {
  if (!to) return;
  const doing = `giving the cgroup ${cloneInto} to its user`;
  b.sys('fchownat', [AT_FDCWD, cloneInto, to.uid, -1, 0], { doing });
  for (const file of to.files)
    b.sys('fchownat', [AT_FDCWD, `${cloneInto}/${file}`, to.uid, -1, 0], { doing, on: { ENOENT: 'continue' } });
}

/** Version 2: a group that has processes can't offer controllers to those below, so a process goes down before that is asked for. */
export function moveBelow(b: PlanBuilder, { cloneInto, directories }: CgroupPlan, pid: number): void {
  if (cloneInto === undefined) return;
  b.group('cgroup').doing(`moving the process to ${cloneInto}`);
  for (const { path } of directories) b.sys('mkdirat', [AT_FDCWD, path, 0o755], { on: { EEXIST: 'continue' } });
  const fd = b.sys('openat', [AT_FDCWD, `${cloneInto}/cgroup.procs`, O_WRONLY | O_CLOEXEC]);
  b.write(fd, String(pid));
  b.sys('close', [fd]);
}

/** bpf(2): loads the device policy and attaches it to the cgroup; it goes when the cgroup goes. */
function attachDeviceProgram(b: PlanBuilder, cgroup: Reg, instructions: Uint8Array): void {
  b.group('security').doing('attaching the device policy to the cgroup');
  const BPF_PROG_LOAD = 5;
  const BPF_PROG_ATTACH = 8;
  const BPF_PROG_TYPE_CGROUP_DEVICE = 15;
  const BPF_CGROUP_DEVICE = 6;
  const BPF_F_ALLOW_MULTI = 2;
  const load = b.struct(`{prog_type=BPF_PROG_TYPE_CGROUP_DEVICE, insn_cnt=${instructions.length / 8}}`, 48, [
    [0, 4, BPF_PROG_TYPE_CGROUP_DEVICE],
    [4, 4, instructions.length / 8],
    [8, 8, b.blob(instructions, `struct bpf_insn[${instructions.length / 8}]`)],
    [16, 8, b.string('Apache-2.0')],
  ]);
  const program = b.sys('bpf', [BPF_PROG_LOAD, load, 48]);
  const attach = b.struct('{attach_type=BPF_CGROUP_DEVICE, attach_flags=BPF_F_ALLOW_MULTI}', 16, [
    [0, 4, cgroup],
    [4, 4, program],
    [8, 4, BPF_CGROUP_DEVICE],
    [12, 4, BPF_F_ALLOW_MULTI],
  ]);
  b.sys('bpf', [BPF_PROG_ATTACH, attach, 16]);
  b.sys('close', [program]);
}

/** `warn` forgives a file that isn't there (a warning was given), `ignore` forgives everything. */
function writeFile(b: PlanBuilder, directory: string, { file, value, whenMissing }: CgroupWrite): void {
  const doing = `writing ${JSON.stringify(value)} to ${directory}/${file}`;
  const next = b.label();
  const onOpen: Rules = whenMissing === 'fail' ? {} : whenMissing === 'warn' ? { ENOENT: next } : { any: next };
  const fd = b.sys('openat', [AT_FDCWD, `${directory}/${file}`, O_WRONLY | O_CLOEXEC], { doing, on: onOpen });
  b.write(fd, value, { doing, on: whenMissing === 'ignore' ? { any: 'continue' } : {} });
  b.sys('close', [fd]);
  b.place(next);
}

/**
 * In the new process, as long as it has the host's file systems and is who it was when it was cloned: enters every leaf that clone3(2) did
 * not put it into. A thread that writes 0 to `tasks` waits for nobody (Linux 5.5); another's pid in cgroup.procs waits for a grace period
 * of RCU, many milliseconds.
 */
export function enterCgroup(b: PlanBuilder, { plan, cloneInto }: CgroupHandle): void {
  if (cloneInto) b.sys('close', [cloneInto]);
  b.group('cgroup');
  for (const { path, leaf } of plan.directories) {
    if (!leaf || path === plan.cloneInto) continue;
    const doing = `error adding pid of the process to cgroups: ${path}/cgroup.procs`;
    const fd = b.sys('openat', [AT_FDCWD, `${path}/tasks`, O_WRONLY | O_CLOEXEC], { doing });
    b.write(fd, '0', { doing });
    b.sys('close', [fd]);
  }
}

/** Of version 2: `other` counts when the group is gone or only its children may have processes. */
export function enterEither(b: PlanBuilder, path: string, other: string): void {
  const [elsewhere, done] = [b.label(), b.label()];
  const join = (directory: string, on: Rules): void => {
    const doing = `error adding pid of the process to cgroups: ${directory}/cgroup.procs`;
    const fd = b.sys('openat', [AT_FDCWD, `${directory}/cgroup.procs`, O_WRONLY | O_CLOEXEC], { doing, on });
    b.write(fd, '0', { doing, on });
    b.sys('close', [fd]);
  };
  b.group('cgroup');
  join(path, { any: elsewhere });
  b.jump(done);
  b.place(elsewhere);
  join(other, {});
  b.place(done);
}

/** When the processes are gone: EBUSY lasts until the last one is reaped. */
export function removeCgroup(b: PlanBuilder, plan: Pick<CgroupPlan, 'directories'>): void {
  b.group('cgroup');
  for (const { path, leaf } of plan.directories.toReversed()) {
    if (!leaf) continue;
    b.sys('unlinkat', [AT_FDCWD, path, AT_REMOVEDIR], {
      doing: `removing the cgroup ${path}`,
      on: { EBUSY: { retryMs: 2000 }, ENOENT: 'continue' },
    });
  }
}
