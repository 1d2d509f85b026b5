import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import { rlimitBytes, rlimitNumber, toRlimit, unlimited } from './rlimits.ts';

test('names of the specification and of docker', () => {
  assert.equal(rlimitNumber('RLIMIT_NOFILE'), 7);
  assert.equal(rlimitNumber('nofile'), 7);
  assert.equal(rlimitNumber('rttime'), 15);
  assert.equal(readFileSync('/proc/self/limits', 'utf8').trim().split('\n').length - 1, 16);
  for (const bad of ['RLIMIT_', 'files', 'constructor']) {
    assert.throws(
      () => rlimitNumber(bad),
      (e) => isKeelsonError(e, 'invalid-argument'),
    );
  }
});

test('docker writes -1 for no limit', () => {
  assert.deepEqual(toRlimit({ name: 'core', soft: 0, hard: -1 }), { type: 'RLIMIT_CORE', soft: 0, hard: unlimited });
  assert.equal(
    Buffer.from(rlimitBytes({ type: 'RLIMIT_CORE', soft: 1, hard: unlimited })).toString('hex'),
    '0100000000000000ffffffffffffffff',
  );
});
