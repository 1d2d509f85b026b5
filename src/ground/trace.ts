import { AsyncLocalStorage } from 'node:async_hooks';

/** One timed piece of work. Times are monotonic nanoseconds (CLOCK_MONOTONIC, as process.hrtime). */
export interface Span {
  readonly id: number;
  readonly parent: number | undefined;
  readonly name: string;
  readonly start: bigint;
  end: bigint | undefined;
}

/** Collects the spans of one command or request. Spans nest by call, across awaits. */
export class Trace {
  readonly spans: Span[] = [];
  readonly #current = new AsyncLocalStorage<Span>();

  async span<T>(name: string, work: (span: Span) => Promise<T> | T): Promise<T> {
    const span: Span = {
      id: this.spans.length,
      parent: this.#current.getStore()?.id,
      name,
      start: process.hrtime.bigint(),
      end: undefined,
    };
    this.spans.push(span);
    try {
      return await this.#current.run(span, async () => work(span));
    } finally {
      span.end = process.hrtime.bigint();
    }
  }

  /** The Trace Event Format (chrome://tracing, Perfetto): complete events, microseconds. */
  toTraceEvents(): { name: string; ph: 'X'; ts: number; dur: number; pid: number; tid: number }[] {
    return this.spans.map((s) => ({
      name: s.name,
      ph: 'X',
      ts: Number(s.start / 1000n),
      dur: Number(((s.end ?? s.start) - s.start) / 1000n),
      pid: process.pid,
      tid: 1,
    }));
  }
}
