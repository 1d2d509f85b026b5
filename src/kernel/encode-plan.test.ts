import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import { encodePlan } from './encode-plan.ts';
import type { Plan } from './plan.ts';
import { PlanBuilder } from './plan-builder.ts';

function built(fill: (b: PlanBuilder) => void): Plan {
  const b = new PlanBuilder('x86_64');
  b.group('test').doing('testing');
  fill(b);
  return b.build();
}

test('operations are numbered in the order they are written, nested ones after the one that holds them', () => {
  const plan = built((b) => {
    b.sys('getpid', []);
    b.clone({ flags: 0n }, () => {
      b.sys('gettid', []);
      b.clone({ flags: 0n }, () => b.sys('getuid', []));
    });
    b.sys('getgid', []);
  });
  const names = encodePlan(plan).ops.map((op) => (op.op === 'syscall' ? op.name : op.op));
  assert.deepEqual(names, ['getpid', 'clone', 'gettid', 'clone', 'getuid', 'getgid']);
});

test('what cannot be encoded is an error that names the operation', () => {
  const invalid = (message: RegExp) => (error: unknown) =>
    isKeelsonError(error, 'invalid-argument') && message.test(error.message);
  assert.throws(
    () => encodePlan(built((b) => b.jump(b.label()))),
    invalid(/testing \(jump\): label 0 is not placed in the same list/),
  );
  assert.throws(() => encodePlan(built((b) => b.fail('EWHAT'))), invalid(/testing \(fail\): there is no errno EWHAT/));
  assert.throws(() => encodePlan(built((b) => b.sys('getpid', [0.5]))), invalid(/\(getpid\): 0.5 is not an integer/));
  assert.throws(
    () => encodePlan(built((b) => b.sys('no_such_call', []))),
    (error) => isKeelsonError(error, 'unsupported') && /no_such_call/.test(error.message),
  );
});

test('a plan as large as a container’s is encoded in less than a millisecond', () => {
  const plan = built((b) => {
    for (let i = 0; i < 250; i++) {
      b.sys('mount', [`source${i}`, `/some/where/${i}`, 'tmpfs', 0x1000n, 'mode=755'], {
        on: { EBUSY: { retryMs: 5 } },
      });
    }
  });
  const times: number[] = [];
  for (let i = 0; i < 50; i++) {
    const begin = performance.now();
    encodePlan(plan);
    times.push(performance.now() - begin);
  }
  times.sort((a, b) => a - b);
  assert.ok((times[5] ?? Infinity) < 1, `${times[5]} ms`);
});
