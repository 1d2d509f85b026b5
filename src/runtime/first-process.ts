/**
 * How a container's first process comes to be: cloned into its new namespaces, and let into those it shares with others. Where that needs
 * more than one step, a stage makes the steps and then the process, which takes its place as a child of whoever runs the plan.
 */
import { CLONE_NEWUSER, PR_SET_DUMPABLE } from '../kernel/constants.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Linux, LinuxNamespace } from '../spec/runtime.ts';
import { enterCgroup, type CgroupHandle } from './cgroup-steps.ts';
import { awaitMessage, awaitParent, letChildGo, type Handshake } from './handshake.ts';
import { becomeRoot, joinNamespaces, joinOpened, newNamespaces, openNamespaces } from './namespaces.ts';
import { pipe } from './stdio.ts';
import { newTimeNamespace } from './time-namespace.ts';

export interface Birth {
  readonly namespaces: readonly LinuxNamespace[];
  readonly timeOffsets: Linux['timeOffsets'];
  readonly cgroup: CgroupHandle | undefined;
  readonly link: Handshake['link'];
  /** First thing in a new process: closes what it has of the executor's. */
  readonly begin: () => void;
  /** In the executor: has systemd make the groups with the process of this number in them, which waits meanwhile. */
  readonly unit?: (pid: Reg) => void;
  /** With the host's file systems and IDs. */
  readonly prepare: () => void;
  /** In the executor: writes the maps of the user namespace that the process of this number has made. */
  readonly mapIds: (pid: Reg) => void;
}

export interface FirstProcess {
  readonly pid: Reg;
  readonly pidfd: Reg;
  readonly report: Reg;
}

export function cloneFirst(b: PlanBuilder, birth: Birth, body: () => void): FirstProcess {
  b.group('namespaces').doing('creating the namespaces');
  if (needsStage(birth.namespaces)) return cloneByStage(b, birth, body);
  const { cgroup, namespaces } = birth;
  const flags = newNamespaces(namespaces);
  const { pid, pidfd, report } = b.clone({ flags, name: 'init', ...into(cgroup) }, () => {
    birth.begin();
    enter(b, birth);
    birth.prepare();
    joinNamespaces(b, namespaces);
    body();
  });
  if (!pidfd) throw new RangeError('a process without a pidfd');
  b.sys('close', [birth.link.child]);
  birth.unit?.(pid);
  return { pid, pidfd, report };
}

/**
 * A pid namespace that is joined, and a new time namespace, take in children only; the executor itself stays out of both, as hooks are its
 * children, too. A user namespace has to be there before the namespaces that it shall own.
 */
function needsStage(namespaces: readonly LinuxNamespace[]): boolean {
  return namespaces.some(
    ({ type, path }) =>
      type === 'user' || (type === 'pid' && path !== undefined) || (type === 'time' && path === undefined),
  );
}

function cloneByStage(b: PlanBuilder, birth: Birth, body: () => void): FirstProcess {
  const { cgroup, link, namespaces } = birth;
  const user = namespaces.find((n) => n.type === 'user');
  const newUser = user !== undefined && user.path === undefined;
  const told = pipe(b, 'pid');
  const number = b.blob(4, '<pid>');
  const stage = b.clone({ flags: 0n, name: 'stage', pidfd: false, ...into(cgroup) }, () => {
    birth.begin();
    b.sys('close', [told.read]);
    enter(b, birth);
    // Files in /proc belong to root while a process is not dumpable, and the executor isn't: an ordinary user has to write here, too.
    if (user) b.sys('prctl', [PR_SET_DUMPABLE, 1, 0, 0, 0]);
    birth.prepare();
    if (user && !newUser) b.sys('prctl', [PR_SET_DUMPABLE, 0, 0, 0, 0]);
    const opened = openNamespaces(b, namespaces);
    const others = opened.filter((n) => n.type !== 'user');
    // Namespaces that the host owns are joined before the user namespace is, those that it owns itself can only be after.
    const retry = joinOpened(b, others, { mayFail: user !== undefined });
    if (newUser) makeUserNamespace(b, birth);
    else
      joinOpened(
        b,
        opened.filter((n) => n.type === 'user'),
        { mayFail: false },
      );
    retry();
    b.group('namespaces');
    // While /proc/self is still its own: it isn't any more for who has changed IDs (proc(5), "dumpable").
    if (namespaces.some((n) => n.type === 'time' && n.path === undefined)) newTimeNamespace(b, birth.timeOffsets);
    if (newUser) b.sys('prctl', [PR_SET_DUMPABLE, 0, 0, 0, 0]);
    if (user) becomeRoot(b);
    b.group('namespaces').doing('creating the namespaces');
    const pid = b.cloneSuccessor('init', newNamespaces(namespaces) & ~CLONE_NEWUSER, () => {
      b.sys('close', [told.write]);
      body();
    });
    b.poke(number, 4, pid);
    b.write(told.write, number, { size: 4 });
  });
  b.sys('close', [told.write]);
  b.sys('close', [link.child]);
  birth.unit?.(stage.pid);
  if (newUser) {
    awaitMessage(b, link.parent, stage.report, 'waiting for the user namespace');
    birth.mapIds(stage.pid);
    letChildGo(b, { link });
  }
  awaitMessage(b, told.read, stage.report, 'waiting for the new process', { at: number, size: 4 });
  b.sys('close', [told.read]);
  b.sys('wait4', [stage.pid, 0, 0, 0]);
  const pid = b.peek(number, 4, 'init_pid');
  return { pid, pidfd: b.sys('pidfd_open', [pid, 0]), report: stage.report };
}

/** Its maps are written by the executor. */
function makeUserNamespace(b: PlanBuilder, { link }: Birth): void {
  b.group('namespaces').doing('creating the user namespace');
  b.sys('unshare', [CLONE_NEWUSER]);
  b.write(link.child, 'u');
  awaitParent(b, { link });
}

function enter(b: PlanBuilder, { cgroup, link, unit }: Birth): void {
  if (unit) awaitParent(b, { link });
  if (cgroup) enterCgroup(b, cgroup);
}

function into(cgroup: CgroupHandle | undefined): { cgroup?: Reg } {
  return cgroup?.cloneInto ? { cgroup: cgroup.cloneInto } : {};
}
