/**
 * sd_notify(3) from a container to the service manager that started the runtime. The process is given a socket of the runtime's own, which
 * lies in the container's state directory and is seen in the container at /run/notify. Whoever starts the process waits there until it says
 * READY=1, and tells the manager with the pid that counts from then on.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fromSystemError } from '../../ground/errors.ts';
import { AT_FDCWD, O_CLOEXEC } from '../../kernel/constants.ts';
import { PlanBuilder } from '../../kernel/plan-builder.ts';
import type { Value } from '../../kernel/plan.ts';
import type { Spec } from '../../spec/runtime.ts';
import { sendDescriptor } from '../stdio.ts';
import { bindUnix, connectUnix } from '../unix-socket.ts';
import type { ContainerFiles } from './container-state.ts';
import type { Host } from './host.ts';

const inContainer = '/run/notify';
const socketName = 'notify.sock';

/** The spec of a container whose process may notify. */
export function withNotifySocket(spec: Spec, { notify }: ContainerFiles): Spec {
  if (!spec.process) return spec;
  const mount = {
    destination: inContainer,
    type: 'bind',
    source: notify,
    options: ['bind', 'nosuid', 'noexec', 'nodev', 'ro'],
  };
  const env = [...(spec.process.env ?? []), `NOTIFY_SOCKET=${inContainer}/${socketName}`];
  return { ...spec, mounts: [...(spec.mounts ?? []), mount], process: { ...spec.process, env } };
}

export function makeNotifyDirectory({ notify }: ContainerFiles): void {
  try {
    mkdirSync(notify, { mode: 0o755 });
  } catch (error) {
    throw fromSystemError(error, `making ${notify}`);
  }
}

/** Before the process is started. The caller's descriptor. */
export async function listenForNotify(host: Host, { notify }: ContainerFiles): Promise<number> {
  const path = join(notify, socketName);
  const b = new PlanBuilder(host.facts.arch);
  const socket = bindUnix(b, path, `listening on the notify socket ${path}`, 'datagram');
  b.sys('fchmodat', [AT_FDCWD, path, 0o777]);
  const { registers } = await host.runner.run(b.build());
  return Number(registers[socket.reg]);
}

/**
 * Waits for READY=1, for the end of the process, or for a signal that is meant for it, which is left pending. The message counts when it begins
 * with that, as runc has it. `mainPid`: who the service manager is to watch.
 */
export async function relayNotify(
  host: Host,
  { socket, manager, pid, mainPid }: { socket: number; manager: string; pid: number; mainPid: number },
): Promise<void> {
  const b = new PlanBuilder(host.facts.arch);
  const done = b.label();
  b.group('notify').doing('watching the process');
  const process = b.sys('pidfd_open', [pid, 0], { on: { ESRCH: done } });
  const doing = `connecting to NOTIFY_SOCKET ${manager}`;
  const client = connectUnix(b, manager, doing, 'datagram');
  awaitReady(b, socket, process, done);
  send(b, client, 'READY=1\n');
  send(b, client, `MAINPID=${mainPid}\n`);
  barrier(b, client);
  b.place(done);
  b.sys('close', [socket]);
  await host.runner.run(b.build());
}

type Label = ReturnType<PlanBuilder['label']>;

function awaitReady(b: PlanBuilder, socket: number, process: Value, otherwise: Label): void {
  const [again, readable, ready] = [b.label(), b.label(), b.label()];
  const SFD_CLOEXEC = O_CLOEXEC;
  // SIGHUP, SIGINT, SIGQUIT, SIGTERM: blocked in whoever waits for its process, to be passed on to it.
  const mask = b.struct('{HUP, INT, QUIT, TERM}', 8, [[0, 8, 1 | (1 << 1) | (1 << 2) | (1 << 14)]]);
  b.group('notify').doing('waiting for READY=1');
  const signals = b.sys('signalfd4', [-1, mask, 8, SFD_CLOEXEC]);
  const POLLIN = 1;
  const polled = b.struct('[{socket, POLLIN}, {process, POLLIN}, {signals, POLLIN}]', 24, [
    [0, 4, socket],
    [4, 2, POLLIN],
    [8, 4, process],
    [12, 2, POLLIN],
    [16, 4, signals],
    [20, 2, POLLIN],
  ]);
  const text = b.blob(4096, 'message');
  const [read, y1] = [Buffer.from('READ').readUInt32LE(), Buffer.from('Y=1').readUIntLE(0, 3)];
  b.place(again);
  b.sys('ppoll', [polled, 3, 0, 0, 8]);
  b.branch(b.peek({ ...polled, offset: 6 }, 2, 'events'), '&', POLLIN, readable);
  b.jump(otherwise);
  b.place(readable);
  b.poke(text, 8, 0);
  b.sys('recvfrom', [socket, text, 4096, 0, 0, 0]);
  b.branch(b.peek(text, 4, 'word'), '!=', read, again);
  // The byte after it may be anything: it is taken away before the comparison, by writing over it.
  b.poke({ ...text, offset: 7 }, 1, 0);
  b.branch(b.peek({ ...text, offset: 4 }, 4, 'word'), '==', y1, ready);
  b.jump(again);
  b.place(ready);
  b.sys('close', [signals]);
}

function send(b: PlanBuilder, client: Value, text: string): void {
  b.write(client, text, { doing: `telling the service manager ${text.trim()}` });
}

/** sd_notify_barrier(3): waits until the manager has read all before it, which it says by closing the descriptor it is sent. */
function barrier(b: PlanBuilder, client: Value): void {
  b.group('notify').doing('waiting for the service manager');
  const pair = b.blob(8, 'barrier[2]');
  b.sys('pipe2', [pair, O_CLOEXEC]);
  const [read, write] = [b.peek(pair, 4, 'read'), b.peek({ ...pair, offset: 4 }, 4, 'write')];
  sendDescriptor(b, client, write, 'BARRIER=1');
  b.sys('close', [write]);
  const polled = b.struct('{fd=barrier, events=0}', 8, [[0, 4, read]]);
  const limit = b.struct('{tv_sec=30}', 16, [[0, 8, 30]]);
  b.sys('ppoll', [polled, 1, limit, 0, 8]);
  b.sys('close', [read]);
}
