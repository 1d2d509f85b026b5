import type { RestartPolicy } from './types.ts';

/** docker's back-off: twice the last one from 100 ms on, up to a minute; anew after a run of ten seconds. */
const firstDelayMs = 100;
const longestDelayMs = 60_000;
const stableMs = 10_000;

export interface EndedRun {
  readonly exitCode: number;
  /** How long it ran. */
  readonly ranMs: number;
  /** Restarts so far, since somebody started it by hand. */
  readonly restartCount: number;
  /** Somebody stopped it. */
  readonly stoppedByUser: boolean;
}

/** Milliseconds until the container is to be started again; undefined when it isn't. */
export function restartDelay(policy: RestartPolicy | undefined, run: EndedRun): number | undefined {
  if (policy === undefined || policy.name === 'no' || run.stoppedByUser) return undefined;
  if (policy.name === 'on-failure') {
    if (run.exitCode === 0) return undefined;
    if (policy.maximumRetryCount > 0 && run.restartCount >= policy.maximumRetryCount) return undefined;
  }
  if (run.ranMs >= stableMs) return firstDelayMs;
  return Math.min(firstDelayMs * 2 ** Math.min(run.restartCount, 20), longestDelayMs);
}
