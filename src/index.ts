/**
 * Containers as a library: no daemon, no other process than keel's. What there is, with examples that run: docs/library.md.
 *
 *     import { Keelson } from 'keelson';
 *
 *     await using keelson = new Keelson();
 *     const { stdout } = await (await keelson.run('host', ['uname', '-s'])).output();
 */
import { Engine } from './engine/engine.ts';
import type {
  Attachment,
  Container as ContainerDetails,
  ContainerConfig,
  EngineEvent,
  ExecConfig,
  Filters,
  LogEntry,
  LogOptions,
  Stats,
  Volume,
} from './engine/types.ts';
import { Context, type ProgressEvent } from './ground/context.ts';
import { defaultPaths, type Paths } from './ground/paths.ts';
import type { ImageSummary, Platform } from './image/types.ts';

export { KeelsonError, errorCodes, type ErrorCode } from './ground/errors.ts';
export type { Container as ContainerDetails } from './engine/types.ts';
export type { ImageSummary, Platform } from './image/types.ts';
export type { ProgressEvent } from './ground/context.ts';
export type * from './engine/types.ts';

export interface KeelsonOptions {
  /** Data that survives a reboot; KEELSON_ROOT or /var/lib/keelson (below the home directory for who is not root) where absent. */
  readonly root?: string;
  /** State that doesn't; KEELSON_RUN or /run/keelson where absent. */
  readonly run?: string;
}

/** What a container is made with, beside its image and command. */
export type RunOptions = Omit<ContainerConfig, 'image' | 'command'> & {
  /** Ends the operation at hand, not a container that runs already. */
  readonly signal?: AbortSignal;
};

export type ExecOptions = Omit<ExecConfig, 'command' | 'detach'> & { readonly signal?: AbortSignal };

export interface Chunk {
  readonly stream: 'stdout' | 'stderr';
  readonly data: Uint8Array;
}

export interface Output {
  readonly stdout: string;
  readonly stderr: string;
  /** 128 + n for a process that signal n ended. */
  readonly exitCode: number;
}

/** Containers and images of one data root. Any number of processes, the command line among them, may work on the same one. */
export class Keelson implements AsyncDisposable {
  readonly paths: Paths;
  readonly #engine: Engine;

  constructor(options: KeelsonOptions = {}) {
    this.paths = defaultPaths(options);
    this.#engine = Engine.open({ paths: this.paths });
  }

  /** Fetches an image. Await it for the image, or iterate over it for what is going on. */
  pull(
    reference: string,
    options: { platform?: Platform; signal?: AbortSignal } = {},
  ): Promise<ImageSummary> & AsyncIterable<ProgressEvent> {
    const steps = new Queue<ProgressEvent>();
    const context = contextOf(options.signal, (event) => steps.push(event));
    const pulled = (async () => {
      try {
        await this.#engine.images.pull(context, reference, options.platform ? { platform: options.platform } : {});
        return await this.#engine.images.inspect(reference);
      } finally {
        steps.end();
      }
    })();
    async function* iterate(): AsyncGenerator<ProgressEvent> {
      yield* steps;
      await pulled; // a failure ends the iteration
    }
    return Object.assign(pulled, { [Symbol.asyncIterator]: iterate });
  }

  /** Runs a command in a new container, which is removed at its end: `docker run --rm`. */
  async run(image: string, command: readonly string[] = [], options: RunOptions = {}): Promise<Process> {
    const { signal, ...config } = options;
    const context = contextOf(signal);
    const { id } = await this.#engine.create(context, { autoRemove: true, ...config, image, command });
    const stdin = config.openStdin === true;
    const attachment = await this.#engine.start(context, id, { attach: { stdin, stdout: true, stderr: true } });
    return new Process(attachment as Attachment, async (name) => this.#engine.kill(new Context(), id, name));
  }

  /** Starts a container that goes on by itself: `docker run -d`. */
  async start(image: string, command: readonly string[] = [], options: RunOptions = {}): Promise<Container> {
    const { signal, ...config } = options;
    const context = contextOf(signal);
    const { id } = await this.#engine.create(context, { ...config, image, command });
    try {
      await this.#engine.start(context, id);
    } catch (error) {
      await this.#engine.remove(new Context(), id, { force: true, volumes: true }).catch(() => {});
      throw error;
    }
    return new Container(this.#engine, id);
  }

  /** A container that is there, by name, id, or the beginning of its id. Throws `not-found`. */
  async container(reference: string): Promise<Container> {
    const { id } = await this.#engine.inspect(new Context(), reference);
    return new Container(this.#engine, id);
  }

  /** Those that run, or with `all` every one; `filters` as `keelson ps --filter` takes them. */
  async containers(options: { all?: boolean; filters?: Filters } = {}): Promise<readonly ContainerDetails[]> {
    return this.#engine.list(new Context(), options);
  }

  async images(): Promise<readonly ImageSummary[]> {
    return this.#engine.images.list();
  }

  async volumes(): Promise<readonly Volume[]> {
    return this.#engine.volumes.list(new Context());
  }

  /** What happens to containers, images and volumes, whoever does it; without `until` as long as `signal` lets it. */
  events(
    options: { since?: number; until?: number; filters?: Filters; signal?: AbortSignal } = {},
  ): AsyncIterable<EngineEvent> {
    const { signal, ...rest } = options;
    return this.#engine.events(contextOf(signal), rest);
  }

  /** What the engine's methods take first: when to stop, and whom to tell of progress. */
  context(options: { signal?: AbortSignal; progress?: (event: ProgressEvent) => void } = {}): Context {
    return contextOf(options.signal, options.progress);
  }

  /** The engine below, for everything that has no shorter word here. */
  get engine(): Engine {
    return this.#engine;
  }

  /** Ends what this object needs for itself. Containers go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine[Symbol.asyncDispose]();
  }
}

/** A container that goes on by itself. `await using` removes it, with its anonymous volumes, at the end of the block. */
export class Container implements AsyncDisposable {
  readonly id: string;
  readonly #engine: Engine;

  /** Made by `Keelson.start` and `Keelson.container`. */
  constructor(engine: Engine, id: string) {
    this.#engine = engine;
    this.id = id;
  }

  /** Runs one more command in it. */
  async exec(command: readonly string[], options: ExecOptions = {}): Promise<Process> {
    const { signal, ...config } = options;
    return new Process(await this.#engine.exec(contextOf(signal), this.id, { ...config, command }));
  }

  /** What it has written, line by line; with `follow` until its end. */
  logs(options: LogOptions & { signal?: AbortSignal } = {}): AsyncIterable<LogEntry> {
    const { signal, ...rest } = options;
    return this.#engine.logs(contextOf(signal), this.id, rest);
  }

  async inspect(): Promise<ContainerDetails> {
    return this.#engine.inspect(new Context(), this.id);
  }

  /** One sample a second. */
  stats(options: { signal?: AbortSignal } = {}): AsyncIterable<Stats> {
    return this.#engine.stats(contextOf(options.signal), this.id, { stream: true });
  }

  /** Asks it to end; SIGKILL after `timeout` seconds. */
  async stop(options: { timeout?: number; signal?: string } = {}): Promise<void> {
    await this.#engine.stop(new Context(), this.id, options);
  }

  async kill(signal?: string): Promise<void> {
    await this.#engine.kill(new Context(), this.id, signal);
  }

  /** Resolves with the exit code when it has ended. */
  async wait(options: { signal?: AbortSignal } = {}): Promise<number> {
    return this.#engine.wait(contextOf(options.signal), this.id);
  }

  async remove(options: { force?: boolean; volumes?: boolean } = {}): Promise<void> {
    await this.#engine.remove(new Context(), this.id, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.remove({ force: true, volumes: true });
    } catch (error) {
      if ((error as { code?: string }).code !== 'not-found') throw error;
    }
  }
}

/**
 * A process in a container, connected to this one. Iterate over it for its output, or ask for all of it; what is not read holds the
 * process up, as a pipe does, until `wait` is called. `await using` ends what `run` started at the end of the block.
 */
export class Process implements AsyncIterable<Chunk>, AsyncDisposable {
  readonly #attachment: Attachment;
  readonly #kill: ((signal: string) => Promise<void>) | undefined;
  #read = false;

  /** Made by `Keelson.run` and `Container.exec`. */
  constructor(attachment: Attachment, kill?: (signal: string) => Promise<void>) {
    this.#attachment = attachment;
    this.#kill = kill;
  }

  [Symbol.asyncIterator](): AsyncIterator<Chunk> {
    this.#read = true;
    return this.#attachment.output[Symbol.asyncIterator]();
  }

  /** All of its output as text, and how it ended. */
  async output(): Promise<Output> {
    const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
    const text = { stdout: '', stderr: '' };
    for await (const { stream, data } of this) text[stream] += decoders[stream].decode(data, { stream: true });
    return { ...text, exitCode: await this.#attachment.exit };
  }

  /** Its exit code. Output that nobody has asked for is dropped. */
  async wait(): Promise<number> {
    if (!this.#read) for await (const _ of this);
    return this.#attachment.exit;
  }

  /** Writes to its standard input, which must be open: `openStdin` of `run`, `stdin` of `exec`. */
  async write(data: Uint8Array | string): Promise<void> {
    await this.#attachment.write(typeof data === 'string' ? Buffer.from(data) : data);
  }

  /** End of standard input. */
  end(): void {
    this.#attachment.closeStdin();
  }

  /** The size of its terminal. */
  resize(columns: number, rows: number): void {
    this.#attachment.resize(columns, rows);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#kill) {
      // It may have ended by itself: then there is nothing to kill.
      await this.#kill('SIGKILL').catch(() => {});
    }
    await this.#attachment[Symbol.asyncDispose]();
  }
}

function contextOf(signal?: AbortSignal, progress?: (event: ProgressEvent) => void): Context {
  return new Context({ ...(signal && { signal }), ...(progress && { progress }) });
}

/** Hands on what is pushed, until the end. */
class Queue<T> implements AsyncIterable<T> {
  readonly #items: T[] = [];
  #ended = false;
  #more = Promise.withResolvers<void>();

  push(item: T): void {
    this.#items.push(item);
    this.#more.resolve();
  }

  end(): void {
    this.#ended = true;
    this.#more.resolve();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (;;) {
      const item = this.#items.shift();
      if (item !== undefined) yield item;
      else if (this.#ended) return;
      else {
        await this.#more.promise;
        this.#more = Promise.withResolvers();
      }
    }
  }
}
