import { Context } from '../ground/context.ts';

/** Work that nobody waits for, until `close`: its context is canceled then, and its end awaited. */
export class Background {
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();

  /** Failures are the work's own to record: here they are only kept from ending the process. */
  run(work: (context: Context) => Promise<void>): void {
    if (this.#stop.signal.aborted) return;
    const task = work(new Context({ signal: this.#stop.signal })).catch(() => {});
    this.#running.add(task);
    void task.finally(() => this.#running.delete(task));
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
  }
}
