/**
 * What listens to a seccomp filter with SCMP_ACT_NOTIFY, on its way from the process under the filter to the agent at `listenerPath`
 * (runtime-spec, config-linux.md#seccomp). From the filter on every system call of the process may wait for the agent, so that it makes as
 * few as can be: it writes the number of its descriptor, which is why write(2) can't be subject to the agent, and waits.
 */
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import { awaitMessage, awaitParent, letChildGo, type Handshake } from './handshake.ts';
import { receiveDescriptor, sendDescriptor } from './stdio.ts';
import { connectUnix } from './unix-socket.ts';

/** The tag of the sync at which the process's pid is known and its state is asked for. */
export const listenerTag = 30;

export interface ListenerInput {
  readonly path: string;
  readonly metadata?: string;
  /** Whether the executor may look into a process that is not dumpable (CAP_SYS_PTRACE); else the process sends the descriptor itself. */
  readonly grab: boolean;
}

type Link = Handshake['link'];

/** In the executor, before anything is made: the agent must be there. */
export function connectAgent(b: PlanBuilder, { path }: ListenerInput): Reg {
  return connectUnix(b, path, `failed to connect with seccomp agent specified in the seccomp profile (${path})`);
}

/** In the process, when the filter is in force. */
export function handOverListener(b: PlanBuilder, link: Link, listener: Reg, { grab }: ListenerInput): void {
  b.group('security').doing("handing over the seccomp filter's listener");
  if (grab) {
    const number = b.blob(4, '<listener>');
    b.poke(number, 4, listener);
    b.write(link.child, number, { size: 4 });
    awaitParent(b, { link });
  } else sendDescriptor(b, link.child, listener);
  b.sys('close', [listener]);
}

/** In the executor: takes the listener over and stops at a sync with the process's pid; what it is answered with is `sendListener`. */
export function takeListener(
  b: PlanBuilder,
  link: Link,
  child: { pid: Reg; pidfd: Reg; report: Reg },
  { grab }: ListenerInput,
): Reg {
  const doing = "waiting for the seccomp filter's listener";
  let listener: Reg;
  if (grab) {
    const number = b.blob(4, '<listener>');
    awaitMessage(b, link.parent, child.report, doing, { at: number, size: 4 });
    b.group('security').doing("taking the seccomp filter's listener");
    listener = b.sys('pidfd_getfd', [child.pidfd, b.peek(number, 4, 'number'), 0]);
  } else {
    const there = b.label();
    b.group('security').doing(doing);
    const { received, fd } = receiveDescriptor(b, link.parent);
    b.branch(received, '>=', 1, there);
    b.await(child.report);
    b.fail('ECHILD', 'the process ended before it had a seccomp filter');
    b.place(there);
    listener = fd;
  }
  b.sync(listenerTag, [child.pid], []);
  return listener;
}

/** Answers the sync: the listener goes to the agent with the container's process state, then the process may go on. */
export function sendListener(
  b: PlanBuilder,
  { agent, listener, link }: { agent: Reg; listener: Reg; link: Link },
  { grab }: ListenerInput,
  state: string,
): void {
  b.group('security').doing('sending the listener to the seccomp agent');
  sendDescriptor(b, agent, listener, state);
  for (const fd of [agent, listener]) b.sys('close', [fd]);
  if (grab) letChildGo(b, { link });
}

/** The specification's container process state (config-linux.md#containerprocessstate). `state`: JSON, as hooks are given it. */
export function containerProcessState(pid: number, state: string, { metadata }: ListenerInput): string {
  const container = JSON.parse(state) as { ociVersion: string };
  return JSON.stringify({
    ociVersion: container.ociVersion,
    fds: ['seccompFd'],
    pid,
    ...(metadata !== undefined && { metadata }),
    state: container,
  });
}
