import { watch, type FSWatcher } from 'node:fs';

/** The longest that a wait goes on without looking again, for what inotify doesn't tell (its queue or watches ran out). */
const longestMs = 500;

/** Wakes a follower (of a log, of events, of exits) when one of the paths changes: a latch, so that nothing in between is missed. */
export class Wakeups implements Disposable {
  onDispose: () => void = () => {};
  readonly #watchers: FSWatcher[] = [];
  #happened = false;
  #resolve: (() => void) | undefined;

  constructor(paths: readonly string[]) {
    for (const path of paths) {
      try {
        const watcher = watch(path, { persistent: false }, this.wake);
        watcher.on('error', () => {});
        this.#watchers.push(watcher);
      } catch {
        // Not there, or no inotify watches left: looking every half second remains.
      }
    }
  }

  readonly wake = (): void => {
    this.#happened = true;
    this.#resolve?.();
  };

  /** Returns when something happened since the last time, when `signal` fired, or after `ms`; half a second at the longest. */
  async next(signal: AbortSignal, ms: number = longestMs): Promise<void> {
    if (!this.#happened && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#resolve = resolve;
      const timer = setTimeout(resolve, Math.max(0, Math.min(ms, longestMs)));
      signal.addEventListener('abort', this.wake);
      await promise;
      signal.removeEventListener('abort', this.wake);
      clearTimeout(timer);
      this.#resolve = undefined;
    }
    this.#happened = false;
  }

  [Symbol.dispose](): void {
    for (const watcher of this.#watchers) watcher.close();
    this.onDispose();
  }
}
