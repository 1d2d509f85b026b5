/** The plan of an OCI runtime's `exec`: joins a running container's namespaces and cgroup; the process is a child of whoever runs the plan. */
import type { CgroupPlan } from '../kernel/cgroup-driver.ts';
import { AT_FDCWD, O_NOCTTY, O_PATH, O_RDWR } from '../kernel/constants.ts';
import type { Plan, Reg } from '../kernel/plan.ts';
import type { PlanMessage } from '../kernel/plan-answers.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import type { LinuxNamespaceType } from '../spec/runtime.ts';
import { enterEither, openCgroup } from './cgroup-steps.ts';
import { borrowAffinity, resetAffinity, setAffinity } from './affinity-steps.ts';
import { type SeccompInput, takeTerminal } from './create-plan.ts';
import { enterContainer, type Entry } from './enter.ts';
import { raiseLimits, runProcess, scoreAndLabels, type ProcessInput } from './exec-steps.ts';
import { awaitParent, letChildGo, prepareLink } from './handshake.ts';
import { noLinks, openIn } from './in-root.ts';
import { cloneFlags } from './namespaces.ts';
import type { Scheduling } from './scheduling-steps.ts';
import {
  connectAgent,
  containerProcessState,
  handOverListener,
  listenerTag,
  sendListener,
  takeListener,
} from './seccomp-listener.ts';
import { resetSignals } from './signal-steps.ts';
import { openTerminal, plainOutput, sendDescriptor } from './stdio.ts';
import { connectUnix } from './unix-socket.ts';
import { environmentOf } from './user-steps.ts';

export const confirmTag = 10;
/** The process of this number is to be moved into the container's group. */
export const attachTag = 11;

export interface JoinPlanInput {
  readonly arch: Plan['arch'];
  /** Of the container's first process. */
  readonly pid: number;
  /** Those of its namespaces that are not the caller's. */
  readonly namespaces: readonly LinuxNamespaceType[];
  readonly cgroup?: Pick<CgroupPlan, 'directories' | 'cloneInto'>;
  /** Instead: the group of the container, or that of its first process. */
  readonly moved?: { readonly own: string; readonly ofInit: string };
  /** Only systemd may move the process into the group. */
  readonly attach?: boolean;
  readonly seccomp?: SeccompInput;
  readonly process: ProcessInput;
  readonly terminal: boolean;
  readonly consoleSocket?: string;
  readonly pidfdSocket?: string;
  readonly preserveFds: number;
  readonly channel?: number;
  readonly newKeyring: boolean;
  readonly scheduling: Scheduling;
  /** Lists of CPUs: of who makes the process, until it is in its control group, and of the process from then on. */
  readonly affinity: { readonly initial?: string; readonly final?: string };
}

export interface JoinPlan {
  readonly plan: Plan;
  readonly pid: Reg;
  readonly pidfd: Reg;
  readonly terminal?: Reg;
  /**
   * Answers the plan's syncs; the one with `confirmTag` when it is known that the pidfd is of the process that was meant. `state`: the
   * container's, as JSON.
   */
  resume(message: PlanMessage, state: () => string): Plan;
}

export function joinPlan(input: JoinPlanInput): JoinPlan {
  const b = new PlanBuilder(input.arch);
  const has = (type: LinuxNamespaceType) => input.namespaces.includes(type);
  b.group('namespaces').doing('finding the container');
  const init = b.sys('pidfd_open', [input.pid, 0]);
  b.sync(confirmTag, [], []);
  const cgroup = input.cgroup && openCgroup(b, input.cgroup);
  const console =
    input.terminal && input.consoleSocket !== undefined
      ? connectUnix(b, input.consoleSocket, `connecting to the console socket ${input.consoleSocket}`)
      : undefined;
  const receiver =
    input.pidfdSocket !== undefined
      ? connectUnix(b, input.pidfdSocket, `connecting to the pidfd socket ${input.pidfdSocket}`)
      : undefined;
  const notifying = input.seccomp?.listener;
  const agent = notifying && connectAgent(b, notifying);
  const link = prepareLink(b);
  const { initial, final } = input.affinity;
  const restore = initial === undefined ? undefined : borrowAffinity(b, initial);
  const entry: Entry = {
    init,
    namespaces: input.namespaces.reduce((bits, type) => bits | cloneFlags[type], 0n),
    userNamespace: has('user'),
    cgroup,
    ...(input.attach && {
      attach: {
        wait: () => awaitParent(b, { link }),
        move(pid: Reg) {
          b.sync(attachTag, [pid], []);
          letChildGo(b, { link });
        },
      },
    }),
    begin() {
      resetSignals(b);
      if (input.moved) enterEither(b, input.moved.own, input.moved.ofInit);
      for (const fd of [link.parent, console, receiver, agent]) if (fd) b.sys('close', [fd]);
    },
    prepare() {
      if (final !== undefined) setAffinity(b, 0, final, 'final');
      else if (initial === undefined) resetAffinity(b);
      if (has('user')) raiseLimits(b, input.process);
      scoreAndLabels(b, input.process);
    },
    leave() {
      b.sys('close', [link.child]);
      restore?.();
    },
  };
  const child = enterContainer(b, entry, () => {
    let slave: Reg | undefined;
    if (input.terminal) {
      b.group('exec').doing('opening a terminal');
      const root = b.sys('openat', [AT_FDCWD, '/', O_PATH | 0o2000000]);
      const ptmx = openIn(b, root, '/dev/pts/ptmx', { flags: O_RDWR | O_NOCTTY, resolve: noLinks });
      const terminal = openTerminal(b, ptmx);
      if (!console) plainOutput(b, terminal.slave);
      sendDescriptor(b, link.child, terminal.master);
      b.sys('close', [terminal.master]);
      b.sys('close', [root]);
      slave = terminal.slave;
    }
    runProcess(b, {
      ...input.process,
      environment: environmentOf(b, input.process),
      pipes: undefined,
      terminal: slave,
      gate: undefined,
      ready: undefined,
      userNamespace: has('user'),
      seccomp: input.seccomp,
      standalone: {
        preserveFds: input.preserveFds,
        newKeyring: input.newKeyring,
        ...(input.channel !== undefined && { channel: input.channel }),
        scheduling: input.scheduling,
        ...(notifying && {
          handOver: (end: PlanBuilder, fd: Reg) => handOverListener(end, link, fd, notifying),
        }),
      },
      procDone: true,
    });
  });
  const master = input.terminal ? takeTerminal(b, link.parent, child.report) : undefined;
  if (master && console) sendDescriptor(b.doing('sending the terminal to the console socket'), console, master);
  if (receiver) sendDescriptor(b.doing('sending the pidfd to its socket'), receiver, child.pidfd, 'setns');
  const listener = notifying && takeListener(b, link, child, notifying);
  b.await(child.report);
  return {
    plan: b.build(),
    pid: child.pid,
    pidfd: child.pidfd,
    ...(master && !console && { terminal: master }),
    resume(message, state) {
      const answer = b.reply(message);
      if (answer) return answer;
      const chunk = new PlanBuilder(input.arch, b);
      if (message.tag === listenerTag && agent && listener) {
        const text = containerProcessState(Number(message.registers[0]), state(), notifying);
        sendListener(chunk, { agent, listener, link }, notifying, text);
      }
      return chunk.build();
    },
  };
}
