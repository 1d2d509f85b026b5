/** A conversation with CRIU (`criu swrk`): it runs as a child of whoever runs the plan, its messages go to the planner and back. */
import { KeelsonError } from '../ground/errors.ts';
import {
  AF_UNIX,
  AT_FDCWD,
  CLOSE_RANGE_CLOEXEC,
  O_CLOEXEC,
  O_RDONLY,
  openFlags,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
} from '../kernel/constants.ts';
import type { Plan, Reg } from '../kernel/plan.ts';
import type { PlanMessage } from '../kernel/plan-answers.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import { type CriuAnswer, criuRequest, decodeAnswer, encodeMessage } from './criu-messages.ts';
import { resetSignals } from './signal-steps.ts';

const F_DUPFD_CLOEXEC = 1030;
const MSG_CMSG_CLOEXEC = 0x40000000;
/** Where CRIU finds its descriptors: well above those that keel may still need, below the usual limit. */
const firstDescriptor = 200;
const answerSize = 16 << 10;

export interface CriuConversation {
  readonly arch: Plan['arch'];
  readonly program: string;
  readonly env: readonly string[];
  /** Where images and logs go; not needed to ask for features. */
  readonly images?: string;
  readonly work?: string;
  /** Files that CRIU gets open, as `inheritedDescriptor(i)`. */
  readonly inherited: readonly string[];
  /** In the executor, before CRIU is there; gives the control group to clone it into. */
  readonly before: (b: PlanBuilder) => Reg | undefined;
  /** In the process that will be CRIU. */
  readonly prepare: (b: PlanBuilder) => void;
  /** Descriptors are numbers of the executor's. */
  readonly request: (known: { images: number; work: number; criu: number }) => Uint8Array;
  /** CRIU tells of a step and waits; `fd`: a descriptor that came with it. */
  readonly notify: (chunk: PlanBuilder, step: { script: string; pid: number }, fd: Reg) => void;
  /** The last message; an answer without success is thrown before. */
  readonly done: (chunk: PlanBuilder, answer: CriuAnswer) => void;
}

export function inheritedDescriptor(index: number): number {
  return firstDescriptor + 1 + index;
}

export interface CriuPlan {
  readonly plan: Plan;
  /** What answers the plan's syncs. */
  reply(message: PlanMessage): Plan;
}

export function criuPlan(c: CriuConversation): CriuPlan {
  const b = new PlanBuilder(c.arch);
  const cgroup = c.before(b);
  b.group('criu').doing('opening the directories for criu');
  const { O_DIRECTORY } = openFlags(c.arch);
  const open = (path: string | undefined) =>
    path === undefined
      ? undefined
      : b.sys('openat', [AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC], { doing: `opening ${path}` });
  const images = open(c.images);
  const work = open(c.work);
  const pair = b.blob(8, 'criu[2]');
  b.sys('socketpair', [AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair]);
  const ours = b.peek(pair, 4, 'criu');
  const theirs = b.peek({ ...pair, offset: 4 }, 4, 'criu_child');
  const criu = b.clone({ flags: 0n, name: 'criu', pidfd: false, ...(cgroup && { cgroup }) }, () => {
    resetSignals(b);
    c.prepare(b);
    b.group('criu').doing(`running ${c.program}`);
    const far = [
      theirs,
      ...c.inherited.map((path) =>
        b.sys('openat', [AT_FDCWD, path, O_RDONLY | O_CLOEXEC], { doing: `opening ${path}` }),
      ),
    ];
    // Not onto each other, if one of them should lie there already.
    const moved = far.map((fd) => b.sys('fcntl', [fd, F_DUPFD_CLOEXEC, firstDescriptor + far.length]));
    b.sys('close_range', [3, 0xffffffff, CLOSE_RANGE_CLOEXEC]);
    for (const [i, fd] of moved.entries()) b.sys('dup3', [fd, firstDescriptor + i, 0]);
    b.sys('execve', [c.program, b.strings(['criu', 'swrk', String(firstDescriptor)]), b.strings(c.env)]);
  });
  b.sys('close', [theirs]);
  b.await(criu.report);
  const none = b.reg('none');
  b.set(none, -1);
  b.ask([images ?? none, work ?? none, criu.pid], [], (chunk, { registers }) => {
    const [imagesFd = 0, workFd = 0, pid = 0] = registers.map(Number);
    chunk.group('criu').doing('asking criu');
    chunk.write(ours, send(chunk, c.request({ images: imagesFd, work: workFd, criu: pid })));
    listen(chunk, c, ours, criu.pid);
  });
  return {
    plan: b.build(),
    reply(message) {
      const chunk = b.reply(message);
      if (!chunk) throw new RangeError(`criu's plan does not ask ${message.tag}`);
      return chunk;
    },
  };
}

const send = (b: PlanBuilder, bytes: Uint8Array) => b.blob(bytes, 'criu_req');

/** Takes the next message and has the planner see to it. */
function listen(b: PlanBuilder, c: CriuConversation, socket: Reg, criu: Reg): void {
  b.group('criu').doing('listening to criu');
  const data = b.blob(answerSize, 'criu_resp');
  const iov = b.struct(`[{…, ${answerSize}}]`, 16, [
    [0, 8, data],
    [8, 8, answerSize],
  ]);
  const control = b.blob(24, 'cmsg');
  const header = b.struct('{msg_iov=…, msg_control=…}', 56, [
    [16, 8, iov],
    [24, 8, 1],
    [32, 8, control],
    [40, 8, 24],
  ]);
  const size = b.sys('recvmsg', [socket, header, MSG_CMSG_CLOEXEC]);
  const fd = b.peek({ ...control, offset: 16 }, 4, 'fd');
  b.ask([size], [data], (chunk, { registers, blobs }) => {
    const bytes = Buffer.from(blobs[0] ?? []).subarray(0, Number(registers[0] ?? 0n));
    if (bytes.length === 0) throw new KeelsonError('internal', 'criu ended without an answer');
    const answer = decodeAnswer(bytes);
    if (!answer.success) throw failed(answer);
    chunk.group('criu').doing('answering criu');
    if (answer.type === criuRequest.notify && answer.notify) {
      c.notify(chunk, answer.notify, fd);
      chunk.write(
        socket,
        send(
          chunk,
          encodeMessage([
            [1, criuRequest.notify],
            [3, true],
          ]),
        ),
      );
      listen(chunk, c, socket, criu);
      return;
    }
    chunk.sys('close', [socket]);
    chunk.sys('wait4', [criu, 0, 0, 0]);
    c.done(chunk, answer);
  });
}

function failed({ type, errno }: CriuAnswer): KeelsonError {
  const name = Object.entries(criuRequest).find(([, number]) => number === type)?.[0] ?? String(type);
  const word = name.replace(/[A-Z]/, (letter) => `_${letter}`).toUpperCase();
  return new KeelsonError('internal', `criu failed: type ${word} errno ${errno}`);
}
