import { setTimeout as sleep } from 'node:timers/promises';
import type { Context } from '../ground/context.ts';
import { isKeelsonError } from '../ground/errors.ts';

/** How often and how patiently a request is tried. */
export interface RetryPolicy {
  /** In all, the first included. */
  readonly attempts: number;
  /** The first pause is up to this long; each following one up to twice its predecessor, at most `maxMs`. */
  readonly baseMs: number;
  readonly maxMs: number;
  /** A server that asks for a longer pause (Retry-After) than this is not waited for. */
  readonly maxRetryAfterMs: number;
}

export const defaultRetry: RetryPolicy = { attempts: 5, baseMs: 500, maxMs: 15_000, maxRetryAfterMs: 120_000 };

/**
 * Waits before attempt number `next` (from 2). Random between half and the whole of the pause, so that many clients don't come back at once.
 * Returns false when there is to be no such attempt.
 */
export async function pause(
  context: Context,
  policy: RetryPolicy,
  next: number,
  retryAfter: string | undefined,
  doing: string,
): Promise<boolean> {
  if (next > policy.attempts) return false;
  const ceiling = Math.min(policy.baseMs * 2 ** (next - 2), policy.maxMs);
  const asked = parseRetryAfter(retryAfter) ?? 0;
  if (asked > policy.maxRetryAfterMs) return false;
  const ms = Math.max(asked, ceiling * (0.5 + Math.random() / 2));
  await sleep(ms, undefined, { signal: context.signal }).catch(() => context.check(doing));
  return true;
}

/** Seconds or an HTTP date (RFC 9110, section 10.2.3), as milliseconds from now. */
export function parseRetryAfter(value: string | undefined, now: number = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value.trim())) return Number(value) * 1000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}

/** What `details.retryAfter` of an error says. */
export function retryAfterOf(error: unknown): string | undefined {
  const value = isKeelsonError(error) ? error.details['retryAfter'] : undefined;
  return typeof value === 'string' ? value : undefined;
}
