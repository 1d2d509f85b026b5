/** The other end of unix sockets that a runtime connects to, as keel plans: Node neither takes descriptors nor speaks datagrams. */
import { O_CLOEXEC } from '../../src/kernel/constants.ts';
import { hostFacts } from '../../src/kernel/facts.ts';
import { Keel } from '../../src/kernel/keel.ts';
import type { BlobRef, Reg } from '../../src/kernel/plan.ts';
import { PlanBuilder } from '../../src/kernel/plan-builder.ts';
import { receiveDescriptor } from '../../src/runtime/stdio.ts';
import { bindUnix, connectUnix } from '../../src/runtime/unix-socket.ts';

export interface Peer extends AsyncDisposable {
  /** What has been reported so far, as texts. */
  readonly heard: readonly string[];
  readonly ended: Promise<void>;
}

/** Runs `body`, which reports texts with tag 1; resolves when it reports tag 0: it is ready. */
async function peer(body: (b: PlanBuilder) => void): Promise<Peer> {
  const keel = Keel.spawn();
  const b = new PlanBuilder(hostFacts().arch);
  body(b);
  const heard: string[] = [];
  const ready = Promise.withResolvers<void>();
  const ended = keel
    .run(b.build(), {
      onReport({ tag, registers, blobs }) {
        if (tag === 0) ready.resolve();
        else heard.push(Buffer.from(blobs[0] ?? []).toString('utf8', 0, Number(registers[0] ?? 0n)));
      },
    })
    .then(() => {}, ready.reject);
  await ready.promise;
  return {
    heard,
    ended,
    async [Symbol.asyncDispose]() {
      await keel.close();
      await ended;
    },
  };
}

/** A service manager: hears `count` datagrams, and closes what comes with them, as sd_notify_barrier(3) expects. */
export function serviceManager(path: string, count: number): Promise<Peer> {
  return peer((b) => {
    const socket = bindUnix(b, path, 'listening', 'datagram');
    b.report(0, [], []);
    for (let i = 0; i < count; i++) {
      const text = b.blob(256);
      const size = b.sys('recvfrom', [socket, text, 256, 0, 0, 0]);
      b.report(1, [size], [text]);
    }
  });
}

/** Connects, and no more. */
export async function knock(path: string): Promise<void> {
  await using keel = Keel.spawn();
  const b = new PlanBuilder(hostFacts().arch);
  connectUnix(b, path, 'connecting');
  await keel.run(b.build());
}

/** Says `text` to a socket of datagrams. */
export async function say(path: string, text: string): Promise<void> {
  await using keel = Keel.spawn();
  const b = new PlanBuilder(hostFacts().arch);
  b.write(connectUnix(b, path, 'connecting', 'datagram'), text);
  await keel.run(b.build());
}

function accept(b: PlanBuilder, path: string): { listening: Reg; next: () => Reg } {
  b.doing('accepting');
  const listening = bindUnix(b, path, 'listening', 'stream');
  b.sys('listen', [listening, 8]);
  b.report(0, [], []);
  return { listening, next: () => b.sys('accept4', [listening, 0, 0, O_CLOEXEC]) };
}

/** Takes a pidfd and kills who it is of when somebody else connects. */
export function pidfdKiller(path: string, signal: number): Promise<Peer> {
  return peer((b) => {
    const { next } = accept(b, path);
    const { fd } = receiveDescriptor(b, next());
    next();
    b.sys('pidfd_send_signal', [fd, signal, 0, 0]);
  });
}

/**
 * A seccomp agent for `count` processes, one after the other: reports the state that comes with a listener, and has the first call that each of
 * them is asked about fail with `errno`.
 */
export function seccompAgent(path: string, count: number, errno: number): Promise<Peer> {
  const SECCOMP_IOCTL_NOTIF_RECV = 0xc0502100;
  const SECCOMP_IOCTL_NOTIF_SEND = 0xc0182101;
  return peer((b) => {
    const { next } = accept(b, path);
    for (let i = 0; i < count; i++) {
      const connection = next();
      const { size, text, fd } = receiveWithText(b, connection);
      b.report(1, [size], [text]);
      const asked = b.blob(80, 'struct seccomp_notif');
      b.sys('ioctl', [fd, SECCOMP_IOCTL_NOTIF_RECV, asked]);
      const answer = b.struct('struct seccomp_notif_resp', 24, [
        [0, 8, b.peek(asked, 8)],
        [16, 4, -errno],
      ]);
      b.sys('ioctl', [fd, SECCOMP_IOCTL_NOTIF_SEND, answer]);
      b.sys('close', [fd]);
    }
  });
}

/** recvmsg(2) with room for a long text and one descriptor. */
function receiveWithText(b: PlanBuilder, socket: Reg): { size: Reg; text: BlobRef; fd: Reg } {
  const text = b.blob(4096);
  const iov = b.struct('iovec', 16, [
    [0, 8, text],
    [8, 8, 4096],
  ]);
  const control = b.blob(24);
  const header = b.struct('msghdr', 56, [
    [16, 8, iov],
    [24, 8, 1],
    [32, 8, control],
    [40, 8, 24],
  ]);
  const size = b.sys('recvmsg', [socket, header, 0]);
  return { size, text, fd: b.peek({ ...control, offset: 16 }, 4, 'fd') };
}
