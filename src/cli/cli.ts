import type { Engine } from '../engine/engine.ts';
import { Context, type ProgressEvent } from '../ground/context.ts';
import { type Paths, defaultPaths } from '../ground/paths.ts';
import { Trace } from '../ground/trace.ts';
import { Output } from './output.ts';

export interface GlobalOptions {
  readonly root?: string;
  readonly run?: string;
  readonly timing: boolean;
  readonly traceFile: string;
  readonly debug: boolean;
}

/** What every command gets: streams, places on disk, the context of this invocation, and the layers below on demand. */
export class Cli {
  readonly options: GlobalOptions;
  readonly paths: Paths;
  readonly stdout: Output = new Output(1);
  readonly stderr: Output = new Output(2);
  readonly trace: Trace = new Trace();
  /** Ends with SIGINT or SIGTERM, unless a command forwards signals to a container. */
  readonly context: Context;
  /** Where progress goes; a command that draws it puts its own function here. */
  onProgress: (event: ProgressEvent) => void = () => {};
  readonly #abort = new AbortController();
  #catching = false;

  constructor(options: GlobalOptions) {
    this.options = options;
    this.paths = defaultPaths(options);
    this.context = new Context({
      signal: this.#abort.signal,
      trace: this.trace,
      progress: (event) => this.onProgress(event),
    });
  }

  /** From here on the first SIGINT or SIGTERM cancels the context, the second ends the process. */
  catchSignals(): void {
    if (this.#catching) return;
    this.#catching = true;
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, this.#cancel);
  }

  /** Leaves SIGINT and SIGTERM to others. */
  releaseSignals(): void {
    this.#catching = false;
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, this.#cancel);
  }

  readonly #cancel = (signal: NodeJS.Signals): void => {
    if (this.#abort.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143);
    this.interrupted = signal;
    this.#abort.abort(new Error(`interrupted by ${signal}`));
  };
  interrupted: NodeJS.Signals | undefined;

  #engine: Promise<Engine> | undefined;

  /** The engine on this invocation's data, opened when it is first asked for. */
  engine(): Promise<Engine> {
    return (this.#engine ??= this.context.span('open engine', async () => {
      const { Engine } = await import('../engine/engine.ts');
      return Engine.open({ paths: this.paths });
    }));
  }

  /** Ends what was started below. */
  async close(): Promise<void> {
    this.releaseSignals();
    const engine = this.#engine;
    this.#engine = undefined;
    // One that could not be opened has been told of where it was asked for.
    await (await engine?.catch(() => undefined))?.leave();
  }
}
