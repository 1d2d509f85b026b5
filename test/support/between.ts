/**
 * A stand between the fronts of keelson-oci and their planner: passes every message on, and stops at each, so that a test can do harm at any point of
 * their conversation. The planner and the front are the real ones.
 */
import { readFileSync, renameSync, rmSync } from 'node:fs';
import { createServer, connect, type Server, type Socket } from 'node:net';
import { FrameReader, encodeFrame } from '../../src/kernel/frames.ts';
import { messageNumbers } from '../../src/kernel/ops.ts';
import type { Oci } from './oci.ts';
import { planners } from './oci.ts';

export interface Passing {
  /** 0 for the first message of a call; signs of life are not counted. */
  readonly number: number;
  readonly name: string;
  readonly from: 'front' | 'planner';
  /** Number of the process that calls. */
  readonly front: number;
  readonly planner: number;
  payload: Buffer;
}

type Meddle = (passing: Passing) => 'hang' | void;

const names = new Map(Object.entries(messageNumbers).map(([name, number]) => [number as number, name]));

export class Between implements AsyncDisposable {
  readonly planner: number;
  readonly #path: string;
  readonly #hidden: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** What is done to messages; of the calls that begin after it was set. */
  meddle: Meddle = () => {};

  private constructor(planner: number, path: string) {
    this.planner = planner;
    this.#path = path;
    this.#hidden = `${path}.planner`;
    this.#server = createServer((front) => this.#serve(front));
  }

  /** Takes the place of the planner's socket; a planner that is started later has its own. */
  static async open(oci: Oci): Promise<Between> {
    await oci.command('--version');
    const [pid] = planners();
    if (pid === undefined) throw new Error('there is no planner');
    const path = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').filter(Boolean).at(-1) ?? '';
    const between = new Between(pid, path);
    renameSync(path, between.#hidden);
    await new Promise<void>((resolve) => between.#server.listen(path, resolve));
    return between;
  }

  #serve(front: Socket): void {
    const meddle = this.meddle;
    const planner = connect(this.#hidden);
    let count = 0;
    let pid = 0;
    let hangs = false;
    const relay = (from: 'front' | 'planner', to: Socket) =>
      new FrameReader((channel, type, payload) => {
        const name = names.get(type) ?? String(type);
        if (name === 'call') pid = payload.readUInt32LE(8);
        const passing = { number: count, name, from, front: pid, planner: this.planner, payload: Buffer.from(payload) };
        if (name !== 'alive') {
          count++;
          hangs = meddle(passing) === 'hang' || hangs;
        }
        if (!hangs) for (const part of encodeFrame(channel, type, passing.payload)) to.write(part);
      });
    for (const [from, to, name] of [
      [front, planner, 'front'],
      [planner, front, 'planner'],
    ] as const) {
      this.#sockets.add(from);
      const reader = relay(name, to);
      from.on('data', (bytes) => reader.push(bytes));
      from.on('error', () => {});
      from.on('close', () => {
        to.destroySoon();
        this.#sockets.delete(from);
      });
    }
  }

  /** As if the planner had never had its socket: fronts that call from now on start another one. */
  vanish(): void {
    if (this.#server.listening) this.#server.close(); // removes the name
    rmSync(this.#hidden, { force: true });
  }

  /** Gives the socket back, unless the planner has vanished. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (!this.#server.listening) return;
    await new Promise((resolve) => this.#server.close(resolve));
    renameSync(this.#hidden, this.#path);
  }
}
