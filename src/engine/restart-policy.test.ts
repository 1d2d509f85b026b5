import assert from 'node:assert/strict';
import { test } from 'node:test';
import { restartDelay } from './restart-policy.ts';

const run = { exitCode: 1, ranMs: 5, restartCount: 0, stoppedByUser: false };
const always = { name: 'always', maximumRetryCount: 0 } as const;

test('without a policy, with "no", and after a stop, nothing is restarted', () => {
  assert.equal(restartDelay(undefined, run), undefined);
  assert.equal(restartDelay({ name: 'no', maximumRetryCount: 0 }, run), undefined);
  assert.equal(restartDelay(always, { ...run, stoppedByUser: true }), undefined);
});

test('the delay doubles from 100 ms to a minute, and starts anew after a long run', () => {
  const delays = [0, 1, 2, 9, 10, 5000].map((restartCount) => restartDelay(always, { ...run, restartCount }));
  assert.deepEqual(delays, [100, 200, 400, 51_200, 60_000, 60_000]);
  assert.equal(restartDelay(always, { ...run, restartCount: 8, ranMs: 10_000 }), 100);
});

test('on-failure restarts after a failure alone, as often as it says', () => {
  const policy = { name: 'on-failure', maximumRetryCount: 2 } as const;
  assert.equal(restartDelay(policy, { ...run, exitCode: 0 }), undefined);
  assert.equal(restartDelay(policy, { ...run, restartCount: 1 }), 200);
  assert.equal(restartDelay(policy, { ...run, restartCount: 2 }), undefined);
  assert.equal(restartDelay({ ...policy, maximumRetryCount: 0 }, { ...run, restartCount: 200 }), 60_000);
});
