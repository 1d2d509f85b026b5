/**
 * From an OCI config to the plan of a container: what the executor does (cgroup, clone, network, keeping) and what the
 * child does in its new namespaces, up to exec. A pure function of its input; nothing is touched.
 */
import type { CgroupPlan } from '../kernel/cgroup-driver.ts';
import { CLONE_NEWCGROUP, O_PATH, PR_SET_DUMPABLE } from '../kernel/constants.ts';
import type { Keep, Plan, Reg } from '../kernel/plan.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import type { LinuxNamespaceType, Spec } from '../spec/runtime.ts';
import { createCgroup, enterCgroup, removeCgroup } from './cgroup-steps.ts';
import { runProcess, type ProcessInput } from './exec-steps.ts';
import { finishRoot } from './finish-root.ts';
import {
  awaitChild,
  awaitParent,
  awaitReady,
  enterChild,
  leaveParent,
  letChildGo,
  prepareHandshake,
  tellParent,
} from './handshake.ts';
import { openHost } from './in-root.ts';
import { mountAll, type MountFacts } from './mounts.ts';
import { enterAsRoot, joinNamespaces, joinPidNamespace, newNamespaces, setNames } from './namespaces.ts';
import { isolateMounts, mountRoot, pivotRoot, sealRoot, type RootSource } from './rootfs.ts';
import { sendDescriptor } from './stdio.ts';
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

  const flags = newNamespaces(namespaces);
  // Files in /proc belong to root while a process is not dumpable, and keel's aren't. The child has it from us, so that its
  // uid_map is ours to write at once.
  if (fresh('user')) b.sys('prctl', [PR_SET_DUMPABLE, 1, 0, 0, 0]);

  let resume: ContainerPlan['continue'];
  const child = b.clone({ flags, name: 'init', ...(cgroup?.cloneInto && { cgroup: cgroup.cloneInto }) }, () => {
    enterChild(b, handshake);
    if (cgroup) enterCgroup(b, cgroup);
    const userNamespace = fresh('user') || namespaces.some((n) => n.type === 'user');
    if (userNamespace) {
      if (fresh('user')) {
        tellParent(b, handshake);
        awaitParent(b, handshake);
      }
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
    if (input.network?.host) awaitParent(b, handshake);
    if (input.network?.container) {
      b.group('network').doing('configuring the network');
      input.network.container(b);
    }
    writeSysctls(b, mounted.proc, spec.linux?.sysctl);
    const terminal = finishRoot(b, root, {
      linux: spec.linux,
      nul,
      dev: mounted.dev,
      sealDev: mounted.sealDev === true,
      terminal: tty,
      userNamespace,
      ...(input.process.createCwd && { cwd: input.process.cwd }),
    });
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
    awaitChild(b, handshake);
    mapIds(b, child.pid, spec.linux?.uidMappings ?? [], spec.linux?.gidMappings ?? [], input.idMapper);
    b.sys('prctl', [PR_SET_DUMPABLE, 0, 0, 0, 0]);
    letChildGo(b, handshake);
  }
  b.group('network').doing('connecting the network');
  const held = input.network?.host?.(b, child.pid);
  if (input.network?.host) letChildGo(b, handshake);

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

export { lookupTag };
