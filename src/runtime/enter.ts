/**
 * A process inside a running container. A stage of it, which the container cannot see, joins the control group and every namespace and
 * closes what it has of the host; only then its successor appears in the container's pid namespace. What a container with CAP_SYS_PTRACE
 * finds in /proc/<pid>/fd, root and cwd of the successor is its own (CVE-2016-9962, CVE-2024-21626).
 */
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import { enterCgroup, type CgroupHandle } from './cgroup-steps.ts';
import { awaitMessage } from './handshake.ts';
import { pipe } from './stdio.ts';

export interface Entry {
  /** A pidfd of the container's first process. */
  readonly init: Reg;
  /** Which of its namespaces to join, as setns(2) takes them with a pidfd (Linux 5.8). */
  readonly namespaces: bigint;
  readonly userNamespace: boolean;
  readonly cgroup: CgroupHandle | undefined;
  /** Someone else moves the stage into its group: what the stage does to wait for that, and the executor, given its number, to have it done. */
  readonly attach?: { readonly wait: () => void; readonly move: (pid: Reg) => void };
  /** First thing in the stage: closes the executor's side of what both have. */
  readonly begin: () => void;
  /** In the stage, while it still has the host's /proc. */
  readonly prepare: () => void;
  /** In the executor, after the clone: closes the stage's side. */
  readonly leave: () => void;
}

export function enterContainer(b: PlanBuilder, entry: Entry, body: () => void): { pid: Reg; pidfd: Reg; report: Reg } {
  const { init, cgroup } = entry;
  b.group('namespaces').doing('joining the namespaces of the container');
  const told = pipe(b, 'pid');
  const number = b.blob(4, '<pid>');
  const into = cgroup?.cloneInto;
  if (into)
    b.group('cgroup').doing(`error adding pid of the process to cgroups: ${cgroup.plan.cloneInto}/cgroup.procs`);
  const stage = b.clone({ flags: 0n, name: 'stage', pidfd: false, ...(into && { cgroup: into }) }, () => {
    entry.begin();
    b.sys('close', [told.read]);
    entry.attach?.wait();
    if (cgroup) enterCgroup(b, cgroup);
    entry.prepare();
    b.group('namespaces').doing('joining the namespaces of the container');
    if (entry.namespaces) b.sys('setns', [init, entry.namespaces]);
    b.sys('close', [init]);
    if (entry.userNamespace) {
      b.sys('setgroups', [0, 0], { on: { EPERM: 'continue' } });
      b.sys('setresgid', [0, 0, 0]);
      b.sys('setresuid', [0, 0, 0]);
    }
    const pid = b.cloneSuccessor('exec', 0n, () => {
      b.sys('close', [told.write]);
      body();
    });
    b.poke(number, 4, pid);
    b.write(told.write, number, { size: 4 });
  });
  entry.leave();
  b.sys('close', [told.write]);
  entry.attach?.move(stage.pid);
  awaitMessage(b, told.read, stage.report, 'waiting for the new process', { at: number, size: 4 });
  b.sys('close', [told.read]);
  b.sys('wait4', [stage.pid, 0, 0, 0]);
  const pid = b.peek(number, 4, 'exec_pid');
  return { pid, pidfd: b.sys('pidfd_open', [pid, 0]), report: stage.report };
}
