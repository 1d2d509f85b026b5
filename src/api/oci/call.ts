/** One invocation of the command line: what its front (native/front.c) said of itself, and what it can be asked to do. */
import type { Socket } from 'node:net';
import { isKeelsonError, KeelsonError, messageOf } from '../../ground/errors.ts';
import { encodePlan } from '../../kernel/encode-plan.ts';
import { encodeFrame, FrameReader } from '../../kernel/frames.ts';
import type { PlanHooks, PlanResult } from '../../kernel/keel.ts';
import { messageNumbers, wireVersion } from '../../kernel/ops.ts';
import { int64s, planFailure, planMessage } from '../../kernel/plan-answers.ts';
import type { Op, Plan } from '../../kernel/plan.ts';

export interface Caller {
  /** Standard streams that are terminals: bit 0 is input. */
  readonly terminals: number;
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  readonly umask: number;
  /** The front's descriptor of this conversation, which processes that it clones have, too. */
  readonly channel: number;
  readonly capabilities: bigint;
  readonly cwd: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** What a front's `call` message says. Throws `corrupt` when it ends early, `unsupported` when it is of another version. */
export function readCall(payload: Buffer): Caller {
  let at = 0;
  const u32 = (): number => {
    at += 4;
    return payload.readUInt32LE(at - 4);
  };
  const string = (): string => {
    const size = u32();
    if (at + size > payload.length) throw new RangeError('a string ends early');
    at += size;
    return payload.toString('utf8', at - size, at);
  };
  const strings = (): string[] => Array.from({ length: u32() }, string);
  try {
    const version = u32();
    if (version !== wireVersion) {
      const which = `this planner understands version ${wireVersion}, the call is of version ${version}`;
      throw new KeelsonError('unsupported', `keelson-oci: ${which}: both are to be built anew (npm run build)`);
    }
    const [terminals, pid, uid, gid, umask, channel] = [u32(), u32(), u32(), u32(), u32(), u32()] as const;
    at += 8;
    const capabilities = payload.readBigUInt64LE(at - 8);
    const cwd = string();
    const argv = strings();
    const env: Record<string, string> = Object.create(null) as Record<string, string>;
    for (const entry of strings()) {
      const equals = entry.indexOf('=');
      if (equals > 0) env[entry.slice(0, equals)] = entry.slice(equals + 1);
    }
    return { terminals, pid, uid, gid, umask, channel, capabilities, cwd, argv, env };
  } catch (cause) {
    if (isKeelsonError(cause)) throw cause;
    throw new KeelsonError('corrupt', 'keelson-oci: the call could not be read', { cause });
  }
}

interface Waiting {
  readonly types: readonly number[];
  readonly resolve: (message: { type: number; payload: Buffer }) => void;
  readonly reject: (error: unknown) => void;
}

/** The conversation with a front. All that it does, it does one after the other. */
export class Call {
  readonly #socket: Socket;
  #ops: Op[] = [];
  #hooks: PlanHooks = {};
  #waiting: Waiting | undefined;
  #gone: Error | undefined;
  /** The front ends by itself. */
  #left = false;
  /** What is to be said while a plan runs: its process reads nothing but answers to its syncs. */
  #unsaid: (() => void)[] | undefined;
  readonly #onGone = new AbortController();
  readonly caller: Promise<Caller>;

  constructor(socket: Socket) {
    this.#socket = socket;
    const { promise, resolve, reject } = Promise.withResolvers<Caller>();
    this.caller = promise;
    const reader = new FrameReader((_channel, type, payload) => {
      try {
        if (type === messageNumbers.call) resolve(readCall(payload));
        else this.#receive(type, payload);
      } catch (error) {
        this.stderr(`${messageOf(error)}\n`);
        this.end(1);
        reject(error);
        this.#lose(error as Error);
      }
    });
    socket.on('data', (bytes) => reader.push(bytes));
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => {
      const error = new KeelsonError('canceled', 'the caller has gone');
      reject(error);
      this.#lose(error);
    });
    promise.catch(() => {});
  }

  /** Aborts when the caller has gone. */
  get signal(): AbortSignal {
    return this.#onGone.signal;
  }

  async run(plan: Plan, hooks: PlanHooks = {}): Promise<PlanResult> {
    const encoded = encodePlan(plan);
    this.#ops = [...encoded.ops];
    this.#hooks = hooks;
    this.#send(messageNumbers.run, encoded.bytes);
    this.#unsaid = [];
    try {
      const ended = this.#next(messageNumbers.done, messageNumbers.failed);
      if (hooks.ahead) void this.#answer(hooks.ahead);
      const { type, payload } = await ended;
      if (type === messageNumbers.failed) throw planFailure(payload, this.#ops);
      return { registers: int64s(payload) };
    } finally {
      const unsaid = this.#unsaid;
      this.#unsaid = undefined;
      for (const say of unsaid) say();
    }
  }

  /**
   * Has the front wait for its child, and run `farewell` when that has ended. With `leave` the front then exits with the child's code by itself,
   * unless the farewell failed. Resolves with the wait status.
   */
  async supervise(
    process: { pid: number; pidfd: number; terminal?: number },
    options: { farewell?: Plan; leave?: boolean } = {},
  ): Promise<{ status: number; failed: boolean }> {
    const head = Buffer.alloc(16);
    head.writeInt32LE(process.pid, 0);
    head.writeInt32LE(process.pidfd, 4);
    head.writeInt32LE(process.terminal ?? -1, 8);
    head.writeInt32LE(options.leave ? 1 : 0, 12);
    const bytes = options.farewell ? encodePlan(options.farewell).bytes : new Uint8Array(0);
    this.#send(messageNumbers.supervise, Buffer.concat([head, bytes]));
    const { payload } = await this.#next(messageNumbers.exited);
    const failed = payload.readInt32LE(4) !== 0;
    this.#left = options.leave === true && !failed;
    return { status: payload.readInt32LE(0), failed };
  }

  stdout(text: string): void {
    this.#output(1, text);
  }

  stderr(text: string): void {
    this.#output(2, text);
  }

  alive(): void {
    if (!this.#unsaid) this.#send(messageNumbers.alive);
  }

  end(code: number): void {
    if (this.#left) return void this.#socket.destroy();
    this.#send(messageNumbers.end, Uint8Array.of(code & 0xff));
    this.#socket.end();
  }

  #output(fd: number, text: string): void {
    if (this.#unsaid) {
      this.#unsaid.push(() => this.#output(fd, text));
      return;
    }
    const bytes = Buffer.from(text);
    const step = 1 << 20;
    for (let at = 0; at < bytes.length; at += step) {
      this.#send(messageNumbers.output, Buffer.concat([Uint8Array.of(fd), bytes.subarray(at, at + step)]));
    }
  }

  #send(type: number, payload?: Uint8Array): void {
    if (this.#gone) return;
    this.#socket.cork();
    for (const part of encodeFrame(0, type, payload)) this.#socket.write(part);
    this.#socket.uncork();
  }

  #next(...types: number[]): Promise<{ type: number; payload: Buffer }> {
    return new Promise((resolve, reject) => {
      if (this.#gone) reject(this.#gone);
      else this.#waiting = { types, resolve, reject };
    });
  }

  #receive(type: number, payload: Buffer): void {
    if (type === messageNumbers.report) {
      try {
        this.#hooks.onReport?.(planMessage(payload));
      } catch (error) {
        this.#failWith(error);
      }
    } else if (type === messageNumbers.sync) {
      void this.#answer(() => this.#hooks.onSync?.(planMessage(payload)));
    } else if (this.#waiting?.types.includes(type)) {
      const { resolve } = this.#waiting;
      this.#waiting = undefined;
      resolve({ type, payload });
    } else throw new KeelsonError('corrupt', `the caller sent message ${type}, which does not belong here`);
  }

  /** An error here ends the plan with it: the front, told of none, fails its `sync`. */
  async #answer(make: () => Plan | Promise<Plan> | undefined): Promise<void> {
    try {
      const plan = await make();
      if (!plan) throw new KeelsonError('internal', 'a plan syncs, and nobody answers');
      const encoded = encodePlan(plan, this.#ops.length);
      this.#ops.push(...encoded.ops);
      this.#send(messageNumbers.chunk, encoded.bytes);
    } catch (error) {
      this.#failWith(error);
      this.#send(messageNumbers.close); // no chunk: the plan fails at its sync
    }
  }

  /** However the plan ends, it has failed. */
  #failWith(error: unknown): void {
    const waiting = this.#waiting;
    this.#waiting = {
      types: [messageNumbers.failed, messageNumbers.done],
      resolve: () => waiting?.reject(error),
      reject: () => waiting?.reject(error),
    };
  }

  #lose(error: Error): void {
    if (this.#gone) return;
    this.#gone = error;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(error);
    this.#onGone.abort();
    this.#socket.destroySoon();
  }
}
