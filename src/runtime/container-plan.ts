/**
 * From an OCI config to the plan of a container: what the executor does (cgroup, clone, network, keeping) and what the
 * child does in its new namespaces, up to exec. A pure function of its input; nothing is touched.
 */
import type { CgroupPlan } from '../kernel/cgroup-driver.ts';
import {
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
  O_NOCTTY,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  PR_SET_DUMPABLE,
} from '../kernel/constants.ts';
import type { Keep, Plan, Reg } from '../kernel/plan.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import type { LinuxNamespace, LinuxNamespaceType, Spec } from '../spec/runtime.ts';
import { createCgroup, joinCgroup, removeCgroup } from './cgroup-steps.ts';
import { defaultDevices, makeDevices, ttyDevice } from './devices.ts';
import { runProcess, type ProcessInput } from './exec-steps.ts';
import { awaitParent, awaitReady, enterChild, leaveParent, letChildGo, prepareHandshake } from './handshake.ts';
import { ensureDirectory, openHost, openIn } from './in-root.ts';
import { mountAll, maskPaths, protectPaths, type MountFacts } from './mounts.ts';
import { isolateMounts, mountRoot, pivotRoot, sealRoot, type RootSource } from './rootfs.ts';
import { mountConsole, openTerminal, sendDescriptor } from './stdio.ts';
import { lookupTag, requestUser, type UserRequest } from './user-steps.ts';
import { mapIds, type IdMapper } from './userns-steps.ts';
import { writeSysctls } from './sysctls.ts';

/** The network's two halves; see network/. Called with the builder in the right process. */
export interface NetworkSteps {
  /** In the executor, in the host's namespace; `pid` is the child. May return what the keeper must hold or relay. */
  host?(b: PlanBuilder, pid: Reg): { relays?: Keep['relays'] } | void;
  /** In the child, in the container's namespace, with its capabilities still whole. */
  container?(b: PlanBuilder): void;
  /** In the keeper, when the container is gone. */
  teardown?(b: PlanBuilder): void;
}

export interface ContainerPlanInput {
  readonly spec: Spec;
  readonly arch: Plan['arch'];
  readonly root: RootSource;
  /** An existing directory of the host; nothing is seen there but by the container. */
  readonly mountPoint: string;
  readonly lowerdirPlus: boolean;
  readonly mountFacts: Omit<MountFacts, 'userNamespace' | 'ownNetwork' | 'ownPids'>;
  /** Absent: no cgroup of its own (rootless without delegation). */
  readonly cgroup?: CgroupPlan;
  readonly network?: NetworkSteps;
  /** Compiled filter; see kernel/seccomp. */
  readonly seccomp?: { readonly filter: Uint8Array; readonly flags: number };
  readonly process: ProcessInput;
  /** A user to be looked up in the container's own passwd and group. Absent: spec.process.user counts as it is. */
  readonly user?: UserRequest;
  readonly idMapper: IdMapper;
  readonly openStdin: boolean;
  readonly keep: Omit<
    Keep,
    'pid' | 'pidfd' | 'gate' | 'report' | 'stdin' | 'stdout' | 'stderr' | 'terminal' | 'relays' | 'exitPlan'
  >;
}

export interface ContainerPlan {
  readonly plan: Plan;
  /** Set when the plan stops at a `sync` with `lookupTag`: makes the chunk that goes on, from what the sync brought. */
  readonly continue?: (blobs: readonly Uint8Array[], values: readonly bigint[]) => Plan;
}

const cloneFlags: Readonly<Record<LinuxNamespaceType, bigint>> = {
  mount: CLONE_NEWNS,
  pid: CLONE_NEWPID,
  ipc: CLONE_NEWIPC,
  uts: CLONE_NEWUTS,
  network: CLONE_NEWNET,
  user: CLONE_NEWUSER,
  time: CLONE_NEWTIME,
  cgroup: CLONE_NEWCGROUP,
};

export function containerPlan(input: ContainerPlanInput): ContainerPlan {
  const b = new PlanBuilder(input.arch);
  const { spec } = input;
  const namespaces = spec.linux?.namespaces ?? [];
  const fresh = (type: LinuxNamespaceType) => namespaces.some((n) => n.type === type && n.path === undefined);
  const tty = spec.process?.terminal ?? false;

  const cgroup = input.cgroup && createCgroup(b, input.cgroup);
  const handshake = prepareHandshake(b, { terminal: tty, openStdin: input.openStdin });
  b.group('namespaces').doing('creating the namespaces');
  joinPidNamespace(b, namespaces);

  // A new cgroup namespace shows the cgroup the child is in when it is made, so the child makes it after it was moved;
  // a time namespace takes in children only, so clone3 is given it like the rest.
  const flags = namespaces
    .filter((n) => n.path === undefined && n.type !== 'cgroup' && n.type !== 'time')
    .reduce((bits, n) => bits | cloneFlags[n.type], 0n);

  let resume: ContainerPlan['continue'];
  const child = b.clone({ flags, name: 'init', ...(cgroup?.cloneInto && { cgroup: cgroup.cloneInto }) }, () => {
    enterChild(b, handshake);
    const userNamespace = fresh('user') || namespaces.some((n) => n.type === 'user');
    if (userNamespace) {
      // /proc/<pid>/uid_map belongs to root while a process is not dumpable, and keel's aren't.
      b.sys('prctl', [PR_SET_DUMPABLE, 1, 0, 0, 0]);
      awaitParent(b, handshake);
      enterAsRoot(b, namespaces);
    }
    joinNamespaces(b, namespaces);
    isolateMounts(b, spec.linux?.rootfsPropagation);
    const nul = openHost(b, '/dev/null', O_PATH, { doing: "opening the host's /dev/null" });
    const root = mountRoot(b, {
      source: input.root,
      mountPoint: input.mountPoint,
      propagation: spec.linux?.rootfsPropagation,
      lowerdirPlus: input.lowerdirPlus,
    });
    if (!userNamespace) awaitParent(b, handshake);
    if (fresh('cgroup')) {
      b.group('namespaces').doing('creating the cgroup namespace');
      b.sys('unshare', [CLONE_NEWCGROUP]);
    }
    const mounted = mountAll(b, root, spec.mounts ?? [], {
      ...input.mountFacts,
      userNamespace,
      ownNetwork: fresh('network'),
      ownPids: fresh('pid'),
    });
    if (input.network?.container) {
      b.group('network').doing('configuring the network');
      input.network.container(b);
    }
    if (spec.linux?.sysctl && mounted.proc) writeSysctls(b, mounted.proc, spec.linux.sysctl);
    const terminal = finishRoot(b, input, root, nul, mounted.dev, tty, userNamespace);
    if (fresh('uts')) setNames(b, spec);
    b.group('root file system');
    if (spec.root.readonly) sealRoot(b, root);
    pivotRoot(b, root, spec.linux?.rootfsPropagation);
    if (terminal)
      sendDescriptor(b.group('exec').doing('handing over the terminal'), handshake.link.child, terminal.master);
    const rest = (builder: PlanBuilder, process: ProcessInput) =>
      runProcess(builder, {
        ...process,
        pipes: handshake.pipes,
        terminal: terminal?.slave,
        gate: handshake.gate.read,
        ready: handshake.link.child,
        userNamespace,
        seccomp: input.seccomp,
      });
    if (input.user) {
      const { user } = input;
      const answer = requestUser(b);
      resume = (blobs, values) => {
        const chunk = new PlanBuilder(input.arch, b);
        rest(chunk, answer(user, input.process, blobs, values));
        return chunk.build();
      };
    } else rest(b, input.process);
  });

  leaveParent(b, handshake);
  if (fresh('user')) {
    mapIds(b, child.pid, spec.linux?.uidMappings ?? [], spec.linux?.gidMappings ?? [], input.idMapper);
    letChildGo(b, handshake);
  }
  if (cgroup) joinCgroup(b, cgroup, child.pid);
  b.group('network').doing('connecting the network');
  const held = input.network?.host?.(b, child.pid);
  if (!fresh('user')) letChildGo(b, handshake);

  const process = awaitReady(b, handshake, child, tty);
  b.group('exec').doing('keeping the container');
  b.keep(
    {
      ...input.keep,
      ...process,
      relays: held?.relays ?? [],
    },
    () => {
      input.network?.teardown?.(b);
      if (input.cgroup) removeCgroup(b, input.cgroup);
    },
  );
  return resume ? { plan: b.build(), continue: resume } : { plan: b.build() };
}

/** Everything in the new root but the mounts: devices, terminal, hidden and protected paths. */
function finishRoot(
  b: PlanBuilder,
  input: ContainerPlanInput,
  root: Reg,
  nul: Reg,
  dev: Reg | undefined,
  tty: boolean,
  userNamespace: boolean,
): { master: Reg; slave: Reg } | undefined {
  const { linux } = input.spec;
  if (dev) {
    const own = linux?.devices ?? [];
    const standard = [...defaultDevices, ttyDevice].filter((d) => !own.some((o) => o.path === d.path));
    makeDevices(b, root, dev, [...standard, ...own], { bind: userNamespace, links: true });
  }
  let terminal: { master: Reg; slave: Reg } | undefined;
  if (tty) {
    const ptmx = openIn(b.group('exec').doing('opening a terminal'), root, '/dev/pts/ptmx', {
      flags: O_RDWR | O_NOCTTY,
    });
    terminal = openTerminal(b, ptmx);
    mountConsole(b, root, terminal.slave);
  }
  if (input.process.createCwd) {
    b.group('exec').doing(`making the working directory ${input.process.cwd}`);
    b.sys('close', [ensureDirectory(b, root, input.process.cwd)]);
  }
  protectPaths(b, root, linux?.readonlyPaths ?? []);
  maskPaths(b, root, nul, linux?.maskedPaths ?? []);
  return terminal;
}

/** After the IDs were mapped: root of the new user namespace, which owns what follows. */
function enterAsRoot(b: PlanBuilder, namespaces: readonly LinuxNamespace[]): void {
  b.group('namespaces').doing('becoming root of the user namespace');
  const existing = namespaces.find((n) => n.type === 'user' && n.path !== undefined);
  if (existing?.path) {
    const fd = openHost(b, existing.path, O_RDONLY);
    b.sys('setns', [fd, CLONE_NEWUSER]);
    b.sys('close', [fd]);
  }
  b.sys('setgroups', [0, 0], { on: { EPERM: 'continue' } });
  b.sys('setresgid', [0, 0, 0]);
  b.sys('setresuid', [0, 0, 0]);
}

/** setns(2) into a pid namespace counts for children only, so the executor does it before the clone. */
function joinPidNamespace(b: PlanBuilder, namespaces: readonly LinuxNamespace[]): void {
  for (const { type, path } of namespaces) {
    if (path === undefined || type !== 'pid') continue;
    b.doing(`joining the ${type} namespace ${path}`);
    const fd = openHost(b, path, O_RDONLY);
    b.sys('setns', [fd, cloneFlags[type]]);
    b.sys('close', [fd]);
  }
}

function joinNamespaces(b: PlanBuilder, namespaces: readonly LinuxNamespace[]): void {
  b.group('namespaces');
  for (const { type, path } of namespaces) {
    if (path === undefined || type === 'pid' || type === 'user') continue;
    b.doing(`joining the ${type} namespace ${path}`);
    const fd = openHost(b, path, O_RDONLY);
    b.sys('setns', [fd, cloneFlags[type]]);
    b.sys('close', [fd]);
  }
}

function setNames(b: PlanBuilder, spec: Spec): void {
  b.group('namespaces').doing('setting the host name');
  if (spec.hostname) b.sys('sethostname', [spec.hostname, Buffer.byteLength(spec.hostname)]);
  if (spec.domainname) b.sys('setdomainname', [spec.domainname, Buffer.byteLength(spec.domainname)]);
}

export { lookupTag };
