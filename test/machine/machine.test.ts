import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runInMachine } from './machine.ts';

test('on a machine with cgroup v2', async (t) => {
  const run = await runInMachine({ timeoutMs: 12 * 60_000 });
  t.diagnostic(`kernel ${run.release}`);
  for (const result of run.results) {
    await t.test(result.name, (inner) => {
      if (result.outcome === 'skipped') inner.skip(result.text);
      assert.notEqual(result.outcome, 'failed', `${result.text}\n(${result.seconds.toFixed(1)} s inside the machine)`);
    });
  }
  const failed = run.results.some((result) => result.outcome === 'failed');
  if (failed || run.failure !== undefined) console.log(run.console.slice(-20_000));
  assert.equal(run.failure, undefined);
  assert.ok(run.results.length > 1, `no test ran inside:\n${run.console.slice(-20_000)}`);
});
