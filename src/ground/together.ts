import type { Context } from './context.ts';

/**
 * Runs tasks at the same time. When one fails the others' context is aborted; all have ended when this returns or throws, and it
 * throws what the first one threw.
 */
export async function together<T>(
  context: Context,
  tasks: readonly ((context: Context) => Promise<T>)[],
): Promise<T[]> {
  const stop = new AbortController();
  const inner = context.child({ signal: stop.signal });
  let first: { error: unknown } | undefined;
  const results = await Promise.all(
    tasks.map(async (task) => {
      try {
        return await task(inner);
      } catch (error) {
        first ??= { error };
        stop.abort();
        return undefined as T;
      }
    }),
  );
  if (first) throw first.error;
  return results;
}

/** So many pieces of work at once; the others wait their turn, in order. */
export class Slots {
  readonly #limit: () => number;
  #busy = 0;
  readonly #waiting: (() => void)[] = [];

  /** `limit` is asked each time. */
  constructor(limit: () => number) {
    this.#limit = limit;
  }

  /** `queued` is called when it is not its turn at once. */
  async use<T>(context: Context, doing: string, work: () => Promise<T>, queued?: () => void): Promise<T> {
    if (this.#busy < this.#limit()) this.#busy++;
    else {
      queued?.();
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    try {
      context.check(doing);
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#busy--;
    }
  }
}
