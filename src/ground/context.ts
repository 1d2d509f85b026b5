import { KeelsonError } from './errors.ts';
import { Trace, type Span } from './trace.ts';

/** One step of a long operation, for a progress bar or a plain line. */
export interface ProgressEvent {
  /** What the step is about: a layer's digest, a container's name. */
  id: string;
  /** Docker's words where it has them: `Pulling fs layer`, `Downloading`, `Extracting`, `Pull complete`. */
  status: string;
  /** Bytes so far and in all, where known. */
  current?: number;
  total?: number;
}

/**
 * What every long operation takes: when to stop, whom to tell, where to write its spans.
 * Made once at the front door, handed down unchanged or through `child`.
 */
export class Context {
  readonly signal: AbortSignal;
  readonly progress: (event: ProgressEvent) => void;
  readonly trace: Trace;

  constructor(options: { signal?: AbortSignal; progress?: (event: ProgressEvent) => void; trace?: Trace } = {}) {
    this.signal = options.signal ?? new AbortController().signal;
    this.progress = options.progress ?? (() => {});
    this.trace = options.trace ?? new Trace();
  }

  /** The same context that also ends after `ms` milliseconds or with `signal`. */
  child(options: { timeoutMs?: number; signal?: AbortSignal }): Context {
    const signals = [this.signal];
    if (options.signal) signals.push(options.signal);
    if (options.timeoutMs !== undefined) signals.push(AbortSignal.timeout(options.timeoutMs));
    return new Context({ signal: AbortSignal.any(signals), progress: this.progress, trace: this.trace });
  }

  /** Throws `canceled` or `timeout` when the signal has fired. `doing` reads as "pulling alpine". */
  check(doing: string): void {
    if (this.signal.aborted) throw abortError(this.signal, doing);
  }

  /** Runs `work` in a span named `name`; see Trace. */
  async span<T>(name: string, work: (span: Span) => Promise<T> | T): Promise<T> {
    return this.trace.span(name, work);
  }
}

/** The error for a fired signal: `timeout` for AbortSignal.timeout, else `canceled`. */
export function abortError(signal: AbortSignal, doing: string): KeelsonError {
  const timedOut = (signal.reason as { name?: string } | undefined)?.name === 'TimeoutError';
  return new KeelsonError(timedOut ? 'timeout' : 'canceled', `${doing}: ${timedOut ? 'timed out' : 'canceled'}`, {
    cause: signal.reason,
  });
}
