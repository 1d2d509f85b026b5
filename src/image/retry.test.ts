import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Context } from '../ground/context.ts';
import { parseRetryAfter, pause } from './retry.ts';

test('Retry-After is seconds or a date', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  assert.equal(parseRetryAfter('120', now), 120_000);
  assert.equal(parseRetryAfter('Thu, 01 Jan 2026 00:00:30 GMT', now), 30_000);
  assert.equal(parseRetryAfter('Wed, 31 Dec 2025 00:00:30 GMT', now), 0);
  assert.equal(parseRetryAfter('soon', now), undefined);
  assert.equal(parseRetryAfter(undefined, now), undefined);
});

test('attempts end, long waits that a server asks for are not made, and the caller can stop one', async () => {
  const policy = { attempts: 3, baseMs: 1, maxMs: 5, maxRetryAfterMs: 1000 };
  const context = new Context();
  assert.equal(await pause(context, policy, 3, undefined, 'x'), true);
  assert.equal(await pause(context, policy, 4, undefined, 'x'), false);
  assert.equal(await pause(context, policy, 2, '3600', 'x'), false);
  const stopped = new Context({ signal: AbortSignal.timeout(20) });
  await assert.rejects(
    pause(stopped, { ...policy, baseMs: 60_000, maxMs: 60_000 }, 2, undefined, 'pulling x'),
    /pulling x: timed out/,
  );
});
