import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { abortError, type Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { encodePlan } from './encode-plan.ts';
import { errnoName } from './errno.ts';
import { encodeFrame, FrameReader } from './frames.ts';
import { messageNumbers } from './ops.ts';
import type { Op, Plan } from './plan.ts';
import { int64s, planFailure, type PlanMessage, planMessage } from './plan-answers.ts';

export interface PlanHooks {
  /** Answers a `sync` with the operations that run in its place. Must be there for plans that sync. */
  readonly onSync?: (message: PlanMessage) => Plan | Promise<Plan>;
  readonly onReport?: (message: PlanMessage) => void;
  /** Makes the chunk for an `unasked` sync, when the plan has been sent. */
  readonly ahead?: () => Plan;
}

export interface PlanResult {
  /** All registers as the plan left them; a register's content is `registers[reg.reg]`. */
  readonly registers: BigInt64Array;
}

/** A plan that ended in `keep`: its process waits at the gate. */
export interface Kept {
  /** The process, as the keeper's process sees it. */
  readonly pid: number;
  /** The keeper itself. */
  readonly keeperPid: number;
  /** Opens the gate; resolves when the program runs, rejects with the reason when it could not be executed (all is undone then). */
  start(): Promise<void>;
  /** Kills the waiting process and runs the exit plan. Also what happens when this process dies before `start`. */
  abandon(): void;
}

const here = dirname(fileURLToPath(import.meta.url));

/** keel's binary: KEELSON_KEEL, or the one built with this checkout or package. */
export function keelBinary(): string {
  const named = process.env['KEELSON_KEEL'];
  if (named) return named;
  // From src/kernel or dist/kernel it is two folders up, from the bundle in dist/ one.
  const candidates = [join(here, '../../native/build/keel'), join(here, '../native/build/keel')];
  const found = candidates.find((path) => existsSync(path));
  if (found === undefined) {
    throw new KeelsonError(
      'not-found',
      `keel is not built: none of ${candidates.join(', ')} exists; run npm run build`,
    );
  }
  return found;
}

/**
 * Runs plans in keel: one zygote process, started by the first plan and again when it died, which forks an executor for each plan.
 * Node may exit while no plan is running; containers that were started live on.
 */
export class Keel implements AsyncDisposable {
  readonly #binary: string | undefined;
  #zygote: Zygote | undefined;
  #closed = false;

  private constructor(binary: string | undefined) {
    this.#binary = binary;
  }

  static spawn(options: { binary?: string } = {}): Keel {
    return new Keel(options.binary);
  }

  /** Starts the zygote now, so that the first plan need not wait for it. */
  warm(): void {
    this.#connect();
  }

  /** Runs a plan to its end. Rejects with the operation that failed, `canceled` or `timeout` from the context, `unavailable` if keel died. */
  async run(plan: Plan, hooks: PlanHooks = {}, context?: Context): Promise<PlanResult> {
    const channel = this.#open(plan, hooks, context);
    const end = await channel.next();
    if (end.type !== messageNumbers.done) throw channel.misplaced(end.type);
    return { registers: int64s(end.payload) };
  }

  /** Runs a plan whose last operation is `keep`. */
  async keep(plan: Plan, hooks: PlanHooks = {}, context?: Context): Promise<Kept> {
    const channel = this.#open(plan, hooks, context);
    const kept = await channel.next();
    if (kept.type !== messageNumbers.kept) throw channel.misplaced(kept.type);
    return {
      pid: kept.payload.readInt32LE(0),
      keeperPid: kept.payload.readInt32LE(4),
      async start() {
        channel.send(messageNumbers.start);
        const answer = await channel.next();
        if (answer.type !== messageNumbers.started) throw channel.misplaced(answer.type);
      },
      abandon() {
        channel.close();
      },
    };
  }

  /** Ends the zygote; plans still running are stopped and reject. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#zygote?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #connect(): Zygote {
    if (this.#closed) throw new KeelsonError('unavailable', 'keel has been closed');
    if (!this.#zygote?.alive) this.#zygote = new Zygote(this.#binary ?? keelBinary());
    return this.#zygote;
  }

  #open(plan: Plan, hooks: PlanHooks, context?: Context): Channel {
    context?.check('running a plan');
    const encoded = encodePlan(plan);
    return new Channel(this.#connect(), encoded.bytes, encoded.ops, hooks, context?.signal);
  }
}

interface Message {
  readonly type: number;
  readonly payload: Buffer;
}

/** One plan's conversation. Syncs and reports are dealt with here; `next` gives what ends a stage of it. */
class Channel {
  readonly #zygote: Zygote;
  readonly #id: number;
  readonly #ops: Op[];
  readonly #hooks: PlanHooks;
  readonly #signal: AbortSignal | undefined;
  readonly #abort = (): void => this.#fail(abortError(this.#signal as AbortSignal, this.#doing()));
  #waiting: { resolve: (m: Message) => void; reject: (e: unknown) => void } | undefined;
  #error: unknown;
  #open = true;

  constructor(
    zygote: Zygote,
    bytes: Uint8Array,
    ops: readonly Op[],
    hooks: PlanHooks,
    signal: AbortSignal | undefined,
  ) {
    this.#zygote = zygote;
    this.#ops = [...ops];
    this.#hooks = hooks;
    this.#signal = signal;
    this.#id = zygote.open(this);
    signal?.addEventListener('abort', this.#abort, { once: true });
    try {
      zygote.send(this.#id, messageNumbers.run, bytes);
    } catch (error) {
      this.#finish();
      throw error;
    }
  }

  next(): Promise<Message> {
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined) reject(this.#error);
      else this.#waiting = { resolve, reject };
    });
  }

  send(type: number, payload?: Uint8Array): void {
    if (this.#open) this.#zygote.send(this.#id, type, payload);
  }

  close(): void {
    if (!this.#open) return;
    this.send(messageNumbers.close);
    this.#finish();
    this.#reject(new KeelsonError('canceled', 'the plan was abandoned'));
  }

  misplaced(type: number): KeelsonError {
    const names = Object.entries(messageNumbers).find(([, number]) => number === type);
    this.close();
    return new KeelsonError('internal', `keel answered with ${names?.[0] ?? type}, which does not belong here`);
  }

  receive(type: number, payload: Buffer): void {
    switch (type) {
      case messageNumbers.sync:
        void this.#answerSync(payload);
        return;
      case messageNumbers.report:
        try {
          this.#hooks.onReport?.(planMessage(payload));
        } catch (error) {
          this.#fail(error);
        }
        return;
      case messageNumbers.failed:
        this.#finish();
        return this.#reject(planFailure(payload, this.#ops));
      case messageNumbers.closed:
        return this.zygoteLost(closedReason(payload.readInt32LE(0)));
      case messageNumbers.kept:
        break;
      default: // done, started: the last of a channel
        this.#finish();
    }
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.resolve({ type, payload });
  }

  zygoteLost(why: string): void {
    this.#finish();
    this.#reject(new KeelsonError('unavailable', `${this.#doing()}: ${why}`));
  }

  async #answerSync(payload: Buffer): Promise<void> {
    try {
      const { onSync } = this.#hooks;
      if (!onSync) throw new KeelsonError('internal', 'a plan syncs, and nobody answers');
      const plan = await onSync(planMessage(payload));
      const encoded = encodePlan(plan, this.#ops.length);
      this.#ops.push(...encoded.ops);
      this.send(messageNumbers.chunk, encoded.bytes);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Stops the executor and rejects. */
  #fail(error: unknown): void {
    this.send(messageNumbers.close);
    this.#finish();
    this.#reject(error);
  }

  #reject(error: unknown): void {
    this.#error ??= error;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(error);
  }

  #finish(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#zygote.release(this.#id);
  }

  #doing(): string {
    return this.#ops.find((op) => op.doing !== '')?.doing ?? 'running a plan';
  }
}

/** The zygote process and the stream that all channels share. */
class Zygote {
  alive = true;
  readonly #child: ChildProcess;
  readonly #socket: Socket;
  readonly #channels = new Map<number, Channel>();
  readonly #exited: Promise<void>;
  #nextId = 1;

  constructor(binary: string) {
    this.#child = spawn(binary, ['zygote'], { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
    this.#socket = this.#child.stdio[3] as Socket;
    this.#child.unref();
    this.#socket.unref();
    const reader = new FrameReader((channel, type, payload) => this.#channels.get(channel)?.receive(type, payload));
    this.#socket.on('data', (bytes) => reader.push(bytes));
    this.#exited = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => {
        this.alive = false;
        // What it said last is read first.
        const lose = (): void => this.#lose(`keel's zygote ended (${signal ?? `exit code ${code}`})`);
        if (this.#socket.closed) lose();
        else this.#socket.once('close', lose);
        resolve();
      });
      this.#child.once('error', (error) => {
        this.#lose(`starting ${binary}: ${error.message}`);
        resolve();
      });
    });
    this.#socket.on('error', () => {}); // 'exit' follows
  }

  open(channel: Channel): number {
    const id = this.#nextId;
    this.#nextId = id === 0xffffffff ? 1 : id + 1;
    if (this.#channels.size === 0) this.#socket.ref();
    this.#channels.set(id, channel);
    return id;
  }

  release(id: number): void {
    this.#channels.delete(id);
    if (this.#channels.size === 0) this.#socket.unref();
  }

  send(channel: number, type: number, payload?: Uint8Array): void {
    if (!this.alive) return;
    const parts = encodeFrame(channel, type, payload);
    this.#socket.cork();
    for (const part of parts) this.#socket.write(part);
    this.#socket.uncork();
  }

  async close(): Promise<void> {
    this.#lose('keel was closed');
    this.#socket.destroy();
    this.#child.ref();
    await this.#exited;
  }

  #lose(why: string): void {
    this.alive = false;
    for (const channel of this.#channels.values()) channel.zygoteLost(why);
  }
}

/** Of a negative errno, where no executor could be had, or of a wait status. */
function closedReason(status: number): string {
  if (status < 0) return `keel could not fork: ${errnoName(-status)}`;
  const signal = status & 0x7f;
  return signal === 0 ? `its executor exited with ${status >> 8}` : `its executor was ended by signal ${signal}`;
}
