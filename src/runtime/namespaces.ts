/** Making, joining and naming namespaces. */
import {
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
  O_RDONLY,
} from '../kernel/constants.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { LinuxNamespace, LinuxNamespaceType, Spec } from '../spec/runtime.ts';
import { openHost } from './in-root.ts';

export const cloneFlags: Readonly<Record<LinuxNamespaceType, bigint>> = {
  mount: CLONE_NEWNS,
  pid: CLONE_NEWPID,
  ipc: CLONE_NEWIPC,
  uts: CLONE_NEWUTS,
  network: CLONE_NEWNET,
  user: CLONE_NEWUSER,
  time: CLONE_NEWTIME,
  cgroup: CLONE_NEWCGROUP,
};

/** Names in /proc/<pid>/ns. */
export const namespaceFile: Readonly<Record<LinuxNamespaceType, string>> = {
  pid: 'pid',
  network: 'net',
  mount: 'mnt',
  ipc: 'ipc',
  uts: 'uts',
  user: 'user',
  cgroup: 'cgroup',
  time: 'time',
};

/**
 * What clone3(2) makes. A new cgroup namespace shows the cgroup the child is in when it is made, so the child makes it after it was moved;
 * a time namespace takes in children only and is made before (see time-namespace.ts).
 */
export function newNamespaces(namespaces: readonly LinuxNamespace[]): bigint {
  return namespaces
    .filter((n) => n.path === undefined && n.type !== 'cgroup' && n.type !== 'time')
    .reduce((bits, n) => bits | cloneFlags[n.type], 0n);
}

/** After the IDs were mapped: root of the new user namespace, which owns what follows. */
export function enterAsRoot(b: PlanBuilder, namespaces: readonly LinuxNamespace[]): void {
  b.group('namespaces').doing('becoming root of the user namespace');
  const existing = namespaces.find((n) => n.type === 'user' && n.path !== undefined);
  if (existing?.path) {
    const fd = openHost(b, existing.path, O_RDONLY);
    b.sys('setns', [fd, CLONE_NEWUSER]);
    b.sys('close', [fd]);
  }
  becomeRoot(b);
}

/** Of the user namespace that this process is in. Where setgroups(2) is denied the groups stay. */
export function becomeRoot(b: PlanBuilder): void {
  b.group('namespaces').doing('becoming root of the user namespace');
  b.sys('setgroups', [0, 0], { on: { EPERM: 'continue' } });
  b.sys('setresgid', [0, 0, 0]);
  b.sys('setresuid', [0, 0, 0]);
}

/** setns(2) into a pid namespace counts for children only, so the executor does it before the clone. */
export function joinPidNamespace(b: PlanBuilder, namespaces: readonly LinuxNamespace[]): void {
  for (const { type, path } of namespaces) {
    if (path === undefined || type !== 'pid') continue;
    b.doing(`joining the ${type} namespace ${path}`);
    const fd = openHost(b, path, O_RDONLY);
    b.sys('setns', [fd, cloneFlags[type]]);
    b.sys('close', [fd]);
  }
}

/** Namespaces to join, opened by their paths before any of them is joined: what a path means may be another afterwards. */
export type OpenedNamespace = { readonly type: LinuxNamespaceType; readonly doing: string; readonly fd: Reg };

/** The mount namespace last: with it goes the sight of the host's files. */
export function openNamespaces(b: PlanBuilder, namespaces: readonly LinuxNamespace[]): OpenedNamespace[] {
  b.group('namespaces');
  const opened = namespaces.flatMap(({ type, path }) => {
    if (path === undefined) return [];
    const doing = `joining the ${type} namespace ${path}`;
    return [{ type, doing, fd: openHost(b.doing(doing), path, O_RDONLY) }];
  });
  return opened.sort((x, y) => Number(x.type === 'mount') - Number(y.type === 'mount'));
}

/** With `mayFail` a namespace whose owner this process is not yet is left for the function that is returned. */
export function joinOpened(
  b: PlanBuilder,
  opened: readonly OpenedNamespace[],
  { mayFail }: { mayFail: boolean },
): () => void {
  b.group('namespaces');
  const tried = opened.map(({ type, doing, fd }) => {
    b.doing(doing);
    return b.sys('setns', [fd, cloneFlags[type]], mayFail ? { on: { EPERM: 'continue' } } : {});
  });
  if (!mayFail) for (const { fd } of opened) b.sys('close', [fd]);
  return () => {
    if (!mayFail) return;
    for (const [i, { type, doing, fd }] of opened.entries()) {
      const done = b.label();
      b.group('namespaces').doing(doing);
      b.branch(tried[i] ?? 0, '>=', 0, done);
      b.sys('setns', [fd, cloneFlags[type]]);
      b.place(done);
      b.sys('close', [fd]);
    }
  };
}

/** Those that a process may join after it was cloned. */
export function joinNamespaces(b: PlanBuilder, namespaces: readonly LinuxNamespace[]): void {
  const own = namespaces.filter(({ type }) => type !== 'pid' && type !== 'user');
  joinOpened(b, openNamespaces(b, own), { mayFail: false });
}

export function setNames(b: PlanBuilder, spec: Spec): void {
  b.group('namespaces').doing('setting the host name');
  if (spec.hostname) b.sys('sethostname', [spec.hostname, Buffer.byteLength(spec.hostname)]);
  if (spec.domainname) b.sys('setdomainname', [spec.domainname, Buffer.byteLength(spec.domainname)]);
}
