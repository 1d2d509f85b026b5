/**
 * How the executor and the process it cloned keep in step: `link` (a socket pair) carries "go on" down, "ready" and a
 * terminal's descriptor up; `gate` (a pipe) holds the process back until its keeper is told to start it.
 */
import type { BlobRef, Keep, Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import { makePipes, pipe, receiveDescriptor, socketPair, type Ends, type Pipes } from './stdio.ts';

export interface Handshake {
  readonly pipes: Pipes | undefined;
  readonly gate: Ends;
  readonly link: { readonly parent: Reg; readonly child: Reg };
}

/** Before the clone. */
export function prepareHandshake(b: PlanBuilder, options: { terminal: boolean; openStdin: boolean }): Handshake {
  const pipes = options.terminal ? undefined : makePipes(b, options.openStdin);
  b.group('exec').doing('preparing the start gate');
  return { pipes, gate: pipe(b, 'gate'), link: socketPair(b, 'link') };
}

/** The link alone: for a process without a keeper. */
export function prepareLink(b: PlanBuilder): Handshake['link'] {
  b.group('exec').doing('preparing the link to the process');
  return socketPair(b, 'link');
}

/** In the executor: waits for a message of the child's (a byte, if it is not to be kept), and fails with its error when it has ended instead. */
export function awaitMessage(
  b: PlanBuilder,
  link: Reg,
  report: Reg,
  doing: string,
  { at, size }: { at: BlobRef; size: number } = { at: b.blob(1), size: 1 },
): void {
  b.group('exec').doing(doing);
  const [failed, there] = [b.label(), b.label()];
  const count = b.sys('read', [link, at, size], { on: { ECONNRESET: failed } });
  b.branch(count, '==', size, there);
  b.place(failed);
  b.await(report);
  b.fail('ECHILD', 'the process ended before it was ready');
  b.place(there);
}

/** First thing in the child: its side of the descriptors only, so that either end sees the other one go. */
export function enterChild(b: PlanBuilder, { gate, link, pipes }: Handshake): void {
  for (const fd of [link.parent, gate.write, pipes?.stdin?.write]) if (fd) b.sys('close', [fd]);
}

/** After the clone, in the executor. */
export function leaveParent(b: PlanBuilder, { gate, link, pipes }: Handshake): void {
  for (const fd of [link.child, gate.read, pipes?.stdin?.read, pipes?.stdout.write, pipes?.stderr.write]) {
    if (fd) b.sys('close', [fd]);
  }
}

/** In the child: it has made itself dumpable, so that its ID maps can be written now. */
export function tellParent(b: PlanBuilder, { link }: Pick<Handshake, 'link'>): void {
  b.group('namespaces').doing('telling the executor');
  b.write(link.child, 'd');
}

/** In the executor: the other side of it. A child that is gone makes the next step fail, with its own failure as the cause. */
export function awaitChild(b: PlanBuilder, { link }: Pick<Handshake, 'link'>): void {
  b.group('namespaces').doing('waiting for the new process');
  b.sys('read', [link.parent, b.blob(1), 1], { on: { ECONNRESET: 'continue' } });
}

/** In the child: waits until the executor has done its part (cgroup, ID maps, network). */
export function awaitParent(b: PlanBuilder, { link }: Pick<Handshake, 'link'>): void {
  b.group('namespaces').doing('waiting for the executor');
  const go = b.label();
  const count = b.sys('read', [link.child, b.blob(1), 1]);
  b.branch(count, '==', 1, go);
  b.fail('ECONNABORTED', 'the executor went away');
  b.place(go);
}

export function letChildGo(b: PlanBuilder, { link }: Pick<Handshake, 'link'>): void {
  b.group('namespaces').doing('letting the process go on');
  // EPIPE: the child has failed; its report tells why, and is read next.
  b.write(link.parent, 'g', { on: { EPIPE: 'continue', ECONNRESET: 'continue' } });
}

/** In the executor: waits until the child is at its gate, and fails with the child's error if it doesn't get there. */
export function awaitReady(
  b: PlanBuilder,
  { link, gate, pipes }: Handshake,
  child: { pid: Reg; pidfd: Reg | undefined; report: Reg },
  terminal: boolean,
): Pick<Keep, 'pid' | 'pidfd' | 'gate' | 'report' | 'stdin' | 'stdout' | 'stderr' | 'terminal'> {
  b.group('exec').doing('waiting for the process to be ready');
  const [failed, ready] = [b.label(), b.label()];
  const received = terminal ? receiveDescriptor(b, link.parent) : undefined;
  if (received) b.branch(received.received, '<', 1, failed);
  const count = b.sys('read', [link.parent, b.blob(1), 1], { on: { ECONNRESET: failed } });
  b.branch(count, '==', 1, ready);
  b.place(failed);
  b.await(child.report);
  b.fail('ECHILD', 'the process ended before it was ready');
  b.place(ready);
  b.sys('close', [link.parent]);
  if (!child.pidfd) throw new RangeError('a kept process needs a pidfd');
  return {
    pid: child.pid,
    pidfd: child.pidfd,
    gate: gate.write,
    report: child.report,
    ...(pipes && { stdout: pipes.stdout.read, stderr: pipes.stderr.read }),
    ...(pipes?.stdin && { stdin: pipes.stdin.write }),
    ...(received && { terminal: received.fd }),
  };
}
