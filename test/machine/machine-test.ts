import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestResult } from './guest/reporter.ts';
import { type MachineInit, runInMachine } from './machine.ts';

/** Has the stack of the failure inside, where it matters. */
class GuestFailure extends Error {
  constructor(result: GuestResult) {
    super(result.name);
    this.stack = `${result.text}\n(${result.seconds.toFixed(1)} s inside the machine)`;
  }
}

/** A test of the tests that run inside a machine. */
export function machineTest(name: string, init: MachineInit): void {
  test(name, async (t) => {
    const run = await runInMachine({ timeoutMs: 12 * 60_000, init });
    t.diagnostic(`kernel ${run.release}`);
    for (const result of run.results) {
      await t.test(result.name, (inner) => {
        if (result.outcome === 'skipped') inner.skip(result.text);
        if (result.outcome === 'failed') throw new GuestFailure(result);
      });
    }
    const failed = run.results.some((result) => result.outcome === 'failed');
    if (failed || run.failure !== undefined) console.log(run.console.slice(-20_000));
    assert.equal(run.failure, undefined);
    assert.ok(run.results.length > 1, `no test ran inside:\n${run.console.slice(-20_000)}`);
  });
}
