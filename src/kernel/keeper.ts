import { closeSync, openSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { basename, dirname } from 'node:path';
import { codeOfErrno, fromSystemError, KeelsonError } from '../ground/errors.ts';
import { O_CLOEXEC, O_PATH } from './constants.ts';
import { errnoName, errnoText } from './errno.ts';
import { encodeFrame, FrameReader } from './frames.ts';
import { messageNumbers } from './ops.ts';

/** How a kept process ended: 128 + n for signal n. */
export interface Exit {
  readonly exitCode: number;
  /** 0 when it exited by itself. */
  readonly signal: number;
}

export interface KeeperStatus {
  readonly pid: number;
  readonly keeperPid: number;
  /** `exited`: its output is being drained; `finished`: the exit record is written. */
  readonly state: 'waiting' | 'starting' | 'running' | 'exited' | 'finished';
  readonly exitCode: number;
  /** Nanoseconds since the epoch, 0 before the start. */
  readonly startedAt: bigint;
  /** Bytes of log records that found no space on the disk. */
  readonly droppedLogBytes: number;
}

export interface AttachOptions {
  readonly stdin?: boolean;
  readonly stdout?: boolean;
  readonly stderr?: boolean;
  /**
   * What this client does not read holds up the process. After so many milliseconds without any progress it is disconnected;
   * 0 (the default): never.
   */
  readonly stallMs?: number;
  /** Whoever holds this role deals with the exit and says so by `acknowledge`: the keeper then doesn't run its exit command. */
  readonly control?: boolean;
}

/** A connection to a kept process's stdio. What is wanted of output must be read, or `exit` never comes. */
export interface KeeperAttachment extends AsyncDisposable {
  readonly output: AsyncIterable<{ readonly stream: 'stdout' | 'stderr'; readonly data: Buffer }>;
  /** Resolves once keel has it or the process's pipe has room for it; rejects with `conflict` after the end. */
  write(data: Uint8Array): Promise<void>;
  closeStdin(): void;
  resize(columns: number, rows: number): void;
  kill(signal: number): Promise<void>;
  /** Comes when the exit record is written. Rejects with `unavailable` when the keeper goes without one: it was killed, or the start was undone. */
  readonly exit: Promise<number>;
  readonly exited: Promise<Exit>;
  /** Resolves when the keeper has run its exit plan and closed the connection. */
  readonly closed: Promise<void>;
  /** Says that the exit is being dealt with; for the `control` role. */
  acknowledge(): void;
}

const states = ['waiting', 'starting', 'running', 'exited', 'finished'] as const;
const pieceSize = 64 * 1024;
/** Input that may be on its way; keel bears 1 MiB. */
const inputWindow = 256 * 1024;
const outputBuffer = 256 * 1024;

/** Connects to the keeper listening at `path`; `not-found` when there is none. */
export async function attach(path: string, options: AttachOptions): Promise<KeeperAttachment> {
  const connection = new Connection(await open(path), path);
  try {
    if (options.control) await connection.request(messageNumbers.control);
    const wants = (options.stdin ? 1 : 0) | (options.stdout ? 2 : 0) | (options.stderr ? 4 : 0);
    await connection.request(messageNumbers.attach, words(wants, options.stallMs ?? 0));
  } catch (error) {
    connection.destroy();
    throw error;
  }
  return connection;
}

/** Sends a signal to the kept process, never to another that got its pid. `not-found` when it, or its keeper, is gone. */
export async function kill(path: string, signal: number): Promise<void> {
  await ask(path, messageNumbers.kill, words(signal));
}

export async function status(path: string): Promise<KeeperStatus> {
  const answer = await ask(path, messageNumbers.status);
  return {
    pid: answer.readInt32LE(0),
    keeperPid: answer.readInt32LE(4),
    state: states[answer.readInt32LE(8)] ?? 'finished',
    exitCode: answer.readInt32LE(12),
    startedAt: answer.readBigInt64LE(16),
    droppedLogBytes: Number(answer.readBigInt64LE(24)),
  };
}

/** Makes the keeper open its log file by name again. */
export async function reopenLog(path: string): Promise<void> {
  await ask(path, messageNumbers.reopenLog);
}

/** Resolves when the process has ended and its exit record is written. `not-found` or `unavailable`: there is no keeper (any more); look for the record. */
export async function waitExit(path: string, signal?: AbortSignal): Promise<Exit> {
  const connection = new Connection(await open(path), path);
  const stop = (): void => connection.destroy();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    if (signal?.aborted) stop();
    return await connection.exited;
  } finally {
    signal?.removeEventListener('abort', stop);
    connection.destroy();
  }
}

async function ask(path: string, type: number, payload?: Uint8Array): Promise<Buffer> {
  const connection = new Connection(await open(path), path);
  try {
    return await connection.request(type, payload);
  } finally {
    connection.destroy();
  }
}

/** Socket addresses are short, paths are not: a long one is reached through a descriptor of its directory. */
async function open(path: string): Promise<Socket> {
  let directory: number | undefined;
  try {
    if (Buffer.byteLength(path) > 107) directory = openSync(dirname(path), O_PATH | O_CLOEXEC);
    const address = directory === undefined ? path : `/proc/self/fd/${directory}/${basename(path)}`;
    return await new Promise((resolve, reject) => {
      const socket = connect({ path: address });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(socket);
      });
    });
  } catch (error) {
    // ECONNRESET: it ended before it accepted the connection.
    if (['ENOENT', 'ECONNREFUSED', 'ECONNRESET'].includes((error as NodeJS.ErrnoException).code ?? '')) {
      throw new KeelsonError('not-found', `there is no keeper at ${path}`, { cause: error });
    }
    throw fromSystemError(error, `connecting to the keeper at ${path}`);
  } finally {
    if (directory !== undefined) closeSync(directory);
  }
}

function words(...numbers: number[]): Buffer {
  const bytes = Buffer.allocUnsafe(numbers.length * 4);
  numbers.forEach((number, i) => bytes.writeUInt32LE(number, i * 4));
  return bytes;
}

interface Chunk {
  readonly stream: 'stdout' | 'stderr';
  readonly data: Buffer;
}

class Connection implements KeeperAttachment {
  readonly exited: Promise<Exit>;
  readonly exit: Promise<number>;
  readonly closed: Promise<void>;
  readonly output: AsyncIterable<Chunk>;
  readonly #socket: Socket;
  readonly #path: string;
  readonly #requests: { type: number; resolve: (answer: Buffer) => void; reject: (error: unknown) => void }[] = [];
  readonly #exit = Promise.withResolvers<Exit>();
  readonly #chunks: Chunk[] = [];
  #buffered = 0;
  #outputEnded = false;
  #moreOutput = Promise.withResolvers<void>();
  #underway = 0;
  #taken = Promise.withResolvers<void>();
  #inputClosed = false;
  #ended = false;

  constructor(socket: Socket, path: string) {
    this.#socket = socket;
    this.#path = path;
    this.exited = this.#exit.promise;
    this.exit = this.exited.then(({ exitCode }) => exitCode);
    this.exit.catch(() => {}); // those who ask get it
    this.output = this.#read();
    const reader = new FrameReader((_, type, payload) => this.#receive(type, payload));
    socket.on('data', (bytes) => reader.push(bytes));
    socket.on('error', () => {}); // 'close' follows
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#end();
        resolve();
      });
    });
  }

  async write(data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length; at += pieceSize) {
      const piece = data.subarray(at, at + pieceSize);
      while (!this.#ended && this.#underway + piece.length > inputWindow) await this.#taken.promise;
      if (this.#ended || this.#inputClosed) throw new KeelsonError('conflict', 'standard input is closed');
      this.#underway += piece.length;
      this.#send(messageNumbers.stdin, piece);
    }
  }

  closeStdin(): void {
    if (this.#inputClosed) return;
    this.#inputClosed = true;
    this.#send(messageNumbers.closeStdin);
  }

  resize(columns: number, rows: number): void {
    this.request(messageNumbers.resize, words(columns, rows)).catch(() => {}); // there may be no terminal any more
  }

  async kill(signal: number): Promise<void> {
    await this.request(messageNumbers.kill, words(signal));
  }

  acknowledge(): void {
    this.#send(messageNumbers.acknowledge);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.destroy();
    await this.closed;
  }

  destroy(): void {
    this.#socket.destroy();
    this.#end();
  }

  /** What follows the result in the answer; rejects with the errno that the keeper answered. */
  request(type: number, payload?: Uint8Array): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#ended) {
        reject(this.#gone());
        return;
      }
      this.#requests.push({ type, resolve, reject });
      this.#send(type, payload);
    });
  }

  #send(type: number, payload?: Uint8Array): void {
    if (this.#ended) return;
    const parts = encodeFrame(0, type, payload);
    this.#socket.cork();
    for (const part of parts) this.#socket.write(part);
    this.#socket.uncork();
  }

  #receive(type: number, payload: Buffer): void {
    switch (type) {
      case messageNumbers.stdout:
      case messageNumbers.stderr:
        this.#chunks.push({ stream: type === messageNumbers.stdout ? 'stdout' : 'stderr', data: payload });
        this.#buffered += payload.length;
        if (this.#buffered > outputBuffer) this.#socket.pause();
        return this.#moreOutput.resolve();
      case messageNumbers.stdinTaken:
        this.#underway -= payload.readUInt32LE(0);
        this.#taken.resolve();
        this.#taken = Promise.withResolvers();
        return;
      case messageNumbers.exit:
        this.#exit.resolve({ exitCode: payload.readInt32LE(0), signal: payload.readInt32LE(4) });
        this.#outputEnded = true;
        return this.#moreOutput.resolve();
      case messageNumbers.answer:
        return this.#answered(payload);
    }
  }

  #answered(payload: Buffer): void {
    const request = this.#requests.shift();
    const result = payload.readInt32LE(0);
    if (!request || request.type !== payload.readInt32LE(4)) {
      this.#socket.destroy(new KeelsonError('internal', 'the keeper answered what was not asked'));
    }
    if (result >= 0) {
      request?.resolve(payload.subarray(8));
      return;
    }
    const errno = errnoName(-result);
    const name = Object.entries(messageNumbers).find(([, number]) => number === request?.type)?.[0];
    request?.reject(
      new KeelsonError(codeOfErrno(errno), `${name} (keeper at ${this.#path}): ${errno} (${errnoText(errno)})`, {
        details: { errno },
      }),
    );
  }

  async *#read(): AsyncGenerator<Chunk> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk) {
        this.#buffered -= chunk.data.length;
        if (this.#buffered <= outputBuffer) this.#socket.resume();
        yield chunk;
      } else if (this.#outputEnded) {
        return;
      } else {
        this.#moreOutput = Promise.withResolvers();
        await this.#moreOutput.promise;
      }
    }
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#exit.reject(this.#gone());
    this.#outputEnded = true;
    this.#moreOutput.resolve();
    this.#taken.resolve();
    for (const request of this.#requests.splice(0)) request.reject(this.#gone());
  }

  #gone(): KeelsonError {
    return new KeelsonError('unavailable', `the keeper at ${this.#path} closed the connection`);
  }
}
