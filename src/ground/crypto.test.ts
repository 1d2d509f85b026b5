import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createHash, randomBytes, randomInt } from './crypto.ts';

test('random bytes are as many as asked for, and other ones each time', () => {
  assert.equal(randomBytes(0).length, 0);
  assert.equal(randomBytes(32).length, 32);
  assert.equal(randomBytes(100_000).length, 100_000);
  assert.notDeepEqual(randomBytes(32), randomBytes(32));
});

test('random integers cover their range and stay in it', () => {
  const seen = new Set(Array.from({ length: 500 }, () => randomInt(3)));
  assert.deepEqual([...seen].toSorted(), [0, 1, 2]);
  assert.equal(randomInt(1), 0);
});

test('hashes are those of node:crypto', () => {
  assert.equal(
    createHash('sha256').update('').digest('hex'),
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  );
});
