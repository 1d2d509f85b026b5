/**
 * From an OCI config to the plan of `create` and `run`: the same steps as a kept container's (container-plan.ts), but the process is
 * a plain child of whoever runs the plan, with its standard streams. It waits at a FIFO (`create`) or goes on at once (`run`).
 */
import type { CgroupPlan } from '../kernel/cgroup-driver.ts';
import { AT_FDCWD, CLONE_NEWCGROUP, MS_PRIVATE, O_PATH, O_RDWR, S_IFIFO } from '../kernel/constants.ts';
import type { Plan, Reg } from '../kernel/plan.ts';
import type { PlanMessage } from '../kernel/plan-answers.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import type { LinuxNamespaceType, Process, Spec } from '../spec/runtime.ts';
import { resetAffinity } from './affinity-steps.ts';
import { createCgroup, moveBelow } from './cgroup-steps.ts';
import { allDevices, sendNodes } from './devices.ts';
import { raiseLimits, runProcess, scoreAndLabels, type ProcessInput } from './exec-steps.ts';
import { finishRoot } from './finish-root.ts';
import { type Birth, cloneFirst } from './first-process.ts';
import { awaitMessage, awaitParent, letChildGo, prepareLink } from './handshake.ts';
import { type HookOptions, runHooks } from './hook-steps.ts';
import { openHost } from './in-root.ts';
import { joinRdtGroup, type RdtGroup } from './intel-rdt.ts';
import { mountAll, type MountFacts } from './mounts.ts';
import { placeOf } from './mount-places.ts';
import { isBind, receiveSource, sendSources, sourcesOfExecutor } from './mount-sources.ts';
import { setNames } from './namespaces.ts';
import { findLinks, moveLinks } from './net-devices.ts';
import { loopbackUp } from './network-up.ts';
import { enterRoot, isolateMounts, moveRoot, mountRoot, pivotRoot, sealRoot } from './rootfs.ts';
import type { Scheduling } from './scheduling-steps.ts';
import {
  connectAgent,
  containerProcessState,
  handOverListener,
  type ListenerInput,
  listenerTag,
  sendListener,
  takeListener,
} from './seccomp-listener.ts';
import { resetSignals } from './signal-steps.ts';
import { plainOutput, receiveDescriptor, sendDescriptor } from './stdio.ts';
import { writeSysctls } from './sysctls.ts';
import { connectUnix } from './unix-socket.ts';
import { environmentOf } from './user-steps.ts';
import { mapIds, type IdMapper } from './userns-steps.ts';

/**
 * Tags of the plan's messages: the process is there (pid and pidfd); hooks are due in the runtime's namespaces; links are to be moved; systemd
 * is to make a unit (pid).
 */
export const createTags = { started: 10, runtimeHooks: 11, netDevices: 12, unit: 13 } as const;

export interface SeccompInput {
  readonly filter: Uint8Array;
  readonly flags: number;
  /** Who listens to a filter that notifies. */
  readonly listener?: ListenerInput;
}

/** The state that hooks are given as JSON, in a status; `inside`: as it is seen from the container's namespaces. */
export type StateText = (status: string, inside?: boolean) => string;

export interface CreatePlanInput {
  readonly spec: Spec;
  readonly arch: Plan['arch'];
  /** Absolute. */
  readonly rootfs: string;
  readonly mountFacts: Omit<MountFacts, 'userNamespace' | 'ownNetwork' | 'ownPids'>;
  readonly cgroup?: CgroupPlan;
  /** systemd makes the groups' unit, around a process that is there already: that was done when the sync `unit` is answered. */
  readonly unit?: { readonly subgroup: boolean };
  readonly seccomp?: SeccompInput;
  readonly process: ProcessInput;
  readonly idMapper: IdMapper;
  /** The runtime itself is in a user namespace: what the kernel refuses there it refuses the container, too. */
  readonly inUserNamespace: boolean;
  /** The runtime has every right over the namespaces it makes and those it is in. */
  readonly privileged: boolean;
  readonly rdt?: RdtGroup;
  /** For SELinux: what new file systems are labelled with. */
  readonly mountLabel?: string;
  /** The FIFO at which the process waits to be started; absent: it goes on at once. */
  readonly fifo?: string;
  readonly consoleSocket?: string;
  readonly pidfdSocket?: string;
  readonly hooks: HookOptions;
  /** Of the caller's descriptors from 3 on: those of socket activation, and then those that the command line asks for. */
  readonly preserveFds: number;
  readonly channel?: number;
  readonly newKeyring: boolean;
  readonly pivot: boolean;
  /** Without pivot: the host's procfs and sysfs mounts, which must not stay in reach of the kernel's "fully visible" rule. */
  readonly bareMounts?: readonly string[];
  /** A mount point that `rootfsPropagation` would let the root's mount spread from, to be made private first. */
  readonly privateParent?: string;
}

export interface CreatePlan {
  /** Up to the process in its namespaces. */
  readonly plan: Plan;
  /** What it does there, unless `plan` says so; made when that has been sent, as it takes longer. */
  readonly rest?: () => Plan;
  /** The process, its pidfd and, if nobody else has it, its terminal, among the registers of the result. */
  readonly pid: Reg;
  readonly pidfd: Reg;
  readonly terminal?: Reg;
  /** What answers the plan's syncs. */
  resume(message: PlanMessage, state: StateText): Plan;
}

export function createPlan(input: CreatePlanInput): CreatePlan {
  const b = new PlanBuilder(input.arch);
  const { spec } = input;
  const namespaces = spec.linux?.namespaces ?? [];
  const fresh = (type: LinuxNamespaceType) => namespaces.some((n) => n.type === type && n.path === undefined);
  const has = (type: LinuxNamespaceType) => namespaces.some((n) => n.type === type);
  const userNamespace = has('user');
  const confined = userNamespace || input.inUserNamespace;
  const tty = spec.process?.terminal ?? false;
  const hooks = spec.hooks ?? {};
  const runtimeHooks = [hooks.prestart, hooks.createRuntime].some((list) => list?.length);
  const containerHooks = [hooks.createContainer, hooks.startContainer].some((list) => list?.length);

  const { unit } = input;
  const cgroup = input.cgroup && (unit ? { plan: input.cgroup, cloneInto: undefined } : createCgroup(b, input.cgroup));
  const gate = input.fifo === undefined ? undefined : makeGate(b, input.fifo);
  const console =
    tty && input.consoleSocket !== undefined
      ? connectUnix(b, input.consoleSocket, `connecting to the console socket ${input.consoleSocket}`)
      : undefined;
  const receiver =
    input.pidfdSocket !== undefined
      ? connectUnix(b, input.pidfdSocket, `connecting to the pidfd socket ${input.pidfdSocket}`)
      : undefined;
  const notifying = input.seccomp?.listener;
  const agent = notifying && connectAgent(b, notifying);
  const link = prepareLink(b);
  let stateFor: StateText = () => '';
  const sources = input.privileged ? sourcesOfExecutor(spec.mounts ?? [], userNamespace) : [];
  const ownDev = !spec.mounts?.some((m) => placeOf(m.destination) === '/dev' && isBind(m));
  const nodes =
    input.privileged && !input.inUserNamespace && fresh('user') && ownDev && allDevices(spec.linux?.devices);
  const netDevices = Object.keys(spec.linux?.netDevices ?? {}).length > 0 && spec.linux?.netDevices;
  const birth: Birth = {
    namespaces,
    timeOffsets: spec.linux?.timeOffsets,
    cgroup,
    link,
    begin() {
      resetSignals(b);
      b.sys('close', [link.parent]);
      for (const fd of [console, receiver, agent]) if (fd) b.sys('close', [fd]);
    },
    ...(unit && { unit: (pid: Reg) => b.sync(createTags.unit, [pid], []) }),
    // By the host's /proc, before a mount namespace is joined that may have another (CVE-2025-52881).
    prepare() {
      resetAffinity(b);
      if (userNamespace) raiseLimits(b, input.process);
      scoreAndLabels(b, input.process);
    },
    mapIds: (pid) => mapIds(b, pid, spec.linux?.uidMappings ?? [], spec.linux?.gidMappings ?? [], input.idMapper),
  };
  const inside = () => {
    if (has('mount')) isolateMounts(b, spec.linux?.rootfsPropagation, { pivot: input.pivot });
    if (has('mount') && input.privateParent !== undefined) b.sys('mount', [0, input.privateParent, 0, MS_PRIVATE, 0]);
    const nul = openHost(b, '/dev/null', O_PATH, { doing: "opening the host's /dev/null" });
    const root = mountRoot(b, {
      source: { kind: 'bind', path: input.rootfs },
      mountPoint: input.rootfs,
      propagation: spec.linux?.rootfsPropagation,
      lowerdirPlus: true,
    });
    if (netDevices) awaitParent(b, { link });
    if (fresh('network')) loopbackUp(b);
    if (fresh('cgroup')) {
      b.group('namespaces').doing('creating the cgroup namespace');
      b.sys('unshare', [CLONE_NEWCGROUP]);
    }
    const facts: MountFacts = {
      ...input.mountFacts,
      userNamespace: confined,
      ownNetwork: fresh('network') || (has('network') && 'joined'),
      ownPids: has('pid'),
      followDangling: true,
      ...(input.mountLabel !== undefined && { context: input.mountLabel }),
      fromExecutor: (mount) => (sources.includes(mount) ? receiveSource(b, link) : undefined),
    };
    const mounted = mountAll(b, root, spec.mounts ?? [], facts);
    writeSysctls(b, mounted.proc, spec.linux?.sysctl);
    const terminal = finishRoot(b, root, {
      linux: spec.linux,
      nul,
      dev: mounted.dev,
      devInRoot: !mounted.bindDev,
      sealDev: mounted.sealDev === true,
      terminal: tty,
      userNamespace: confined,
      ...(nodes && { nodes: () => receiveSource(b, link) }),
      ...(input.process.createCwd && { cwd: input.process.cwd }),
    });
    if (has('uts')) setNames(b, spec);
    if (runtimeHooks) {
      b.group('hooks').doing('waiting for the hooks');
      b.write(link.child, 'h');
      awaitParent(b, { link });
    }
    const rest = (to: PlanBuilder, state?: StateText) => {
      const { stdout, stderr } = input.hooks;
      const printing = { ...(stdout !== undefined && { stdout }), ...(stderr !== undefined && { stderr }) };
      if (state && hooks.createContainer?.length) {
        // Paths of theirs may be relative to the root that the container will have.
        to.group('hooks').doing('entering the root file system for the hooks').sys('fchdir', [root]);
        runHooks(to, 'createContainer', hooks.createContainer, state('creating', true), printing);
      }
      to.group('root file system');
      if (spec.root.readonly) sealRoot(to, root);
      if (!has('mount')) enterRoot(to, root);
      else if (input.pivot) pivotRoot(to, root, spec.linux?.rootfsPropagation);
      else moveRoot(to, root, input.bareMounts ?? []);
      // What waits to be started has nothing open but what it waits on.
      for (const fd of [root, nul, mounted.proc, mounted.dev, mounted.devpts]) if (fd) to.sys('close', [fd]);
      if (terminal) {
        if (!console) plainOutput(to.group('exec').doing('setting up the terminal'), terminal.slave);
        sendDescriptor(to.group('exec').doing('handing over the terminal'), link.child, terminal.master);
        to.sys('close', [terminal.master]);
      }
      const environment = environmentOf(to, input.process);
      runProcess(to, {
        ...input.process,
        environment,
        pipes: undefined,
        terminal: terminal?.slave,
        gate,
        ready: gate && link.child,
        procDone: true,
        userNamespace,
        seccomp: input.seccomp,
        standalone: {
          preserveFds: input.preserveFds,
          newKeyring: input.newKeyring,
          visible: input.idMapper.kind === 'user',
          ...(input.channel !== undefined && { channel: input.channel }),
          scheduling: schedulingOf(spec),
          ...(notifying && {
            handOver: (end: PlanBuilder, fd: Reg) => handOverListener(end, link, fd, notifying),
          }),
          ...(state &&
            hooks.startContainer?.length && {
              beforeExec: (end: PlanBuilder, confine: () => void) =>
                runHooks(end, 'startContainer', hooks.startContainer, state('created', true), { environment, confine }),
            }),
        },
      });
    };
    if (containerHooks) b.ask([], [], (chunk) => rest(chunk, stateFor));
    else rest(b);
  };
  // The executor's questions must not be answered by what the process inside is sent.
  const asks = unit !== undefined || netDevices !== false;
  const child = cloneFirst(b, birth, () => (asks ? inside() : b.later(inside)));
  const { pid, pidfd, report } = child;
  b.report(createTags.started, [pid, pidfd], []);
  if (netDevices) {
    findLinks(b, netDevices, createTags.netDevices);
    letChildGo(b, { link });
  }
  if (input.rdt) joinRdtGroup(b, input.rdt, pid);
  sendSources(b, sources, child, link);
  if (nodes) sendNodes(b, nodes, spec.linux ?? {}, child, link);
  if (runtimeHooks) {
    awaitMessage(b, link.parent, child.report, 'waiting for the root file system');
    b.sync(createTags.runtimeHooks, [], []);
    letChildGo(b, { link });
  }
  const master = tty ? takeTerminal(b, link.parent, report) : undefined;
  if (master && console) sendDescriptor(b.doing('sending the terminal to the console socket'), console, master);
  if (receiver) sendDescriptor(b.doing('sending the pidfd to its socket'), receiver, pidfd, 'standard');
  const listener = notifying && takeListener(b, link, { pid, pidfd, report }, notifying);
  if (gate) awaitMessage(b, link.parent, report, 'waiting for the process to be ready');
  else b.await(report);
  const plan = b.build();
  // What the executor was sent last; the first process has a line of its own, see PlanBuilder.ask.
  let executor = new PlanBuilder(input.arch, b);
  return {
    plan,
    ...(!asks && { rest: () => b.rest() }),
    pid,
    pidfd,
    ...(master && !console && { terminal: master }),
    resume(message, state) {
      stateFor = state;
      const answer = b.reply(message);
      if (answer) return answer;
      const chunk = new PlanBuilder(input.arch, executor);
      executor = chunk;
      if (message.tag === createTags.unit && input.cgroup) {
        if (unit?.subgroup) moveBelow(chunk, input.cgroup, Number(message.registers[0]));
        createCgroup(chunk, input.cgroup);
        letChildGo(chunk, { link });
      } else if (message.tag === createTags.netDevices) {
        if (netDevices) moveLinks(chunk, netDevices, pid, message);
      } else if (message.tag === listenerTag && agent && listener) {
        const text = containerProcessState(Number(message.registers[0]), state('creating'), notifying);
        sendListener(chunk, { agent, listener, link }, notifying, text);
      } else {
        // As crun has it; to the first version of the specification these hooks came with `start`.
        runHooks(chunk, 'prestart', hooks.prestart, state('created'), input.hooks);
        runHooks(chunk, 'createRuntime', hooks.createRuntime, state('creating'), input.hooks);
      }
      return chunk.build();
    },
  };
}

export function schedulingOf(spec: Spec, process: Process | undefined = spec.process): Scheduling {
  return {
    ...(spec.linux?.personality && { personality: spec.linux.personality.domain }),
    ...(spec.linux?.memoryPolicy && { memoryPolicy: spec.linux.memoryPolicy }),
    ...(process?.scheduler && { scheduler: process.scheduler }),
    ...(process?.ioPriority && { ioPriority: process.ioPriority }),
    ...(spec.linux?.resources?.cpu?.cpus && { ownCpus: true }),
  };
}

/**
 * A FIFO in the container's state directory. Open for reading and writing it neither blocks nor ends, so that whoever starts the container
 * finds a reader while the process is there, and ENXIO when it isn't.
 */
function makeGate(b: PlanBuilder, path: string): Reg {
  b.group('exec').doing('making the start gate');
  b.sys('mknodat', [AT_FDCWD, path, S_IFIFO | 0o600, 0]);
  return openHost(b, path, O_RDWR);
}

/** The child's terminal; its failure, if it fails before that. */
export function takeTerminal(b: PlanBuilder, link: Reg, report: Reg): Reg {
  b.group('exec').doing('waiting for the terminal');
  const there = b.label();
  const { received, fd } = receiveDescriptor(b, link);
  b.branch(received, '>=', 1, there);
  b.await(report);
  b.fail('ECHILD', 'the process ended before it had a terminal');
  b.place(there);
  return fd;
}
