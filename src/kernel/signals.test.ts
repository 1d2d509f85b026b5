import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import { signalName, signalNumber } from './signals.ts';

test('every name the C library has leads to its number', () => {
  for (const [name, number] of Object.entries(constants.signals)) assert.equal(signalNumber(name), number, name);
});

test('every number leads to a name and back', () => {
  for (let n = 1; n <= 64; n++) if (n !== 32 && n !== 33) assert.equal(signalNumber(signalName(n)), n);
  assert.equal(signalName(15), 'SIGTERM');
  assert.equal(signalName(37), 'SIGRTMIN+3');
  assert.equal(signalName(33), '33');
});

test('forms that clients use', () => {
  for (const form of ['9', 'KILL', 'SIGKILL', 'sigkill', ' kill ']) assert.equal(signalNumber(form), 9);
  assert.equal(signalNumber('SIGRTMIN+3'), 37);
  assert.equal(signalNumber('RTMIN'), 34);
  assert.equal(signalNumber('RTMAX-14'), 50);
});

for (const bad of ['', '0', '65', '-9', '9.5', 'SIG', 'SIGNOPE', 'RTMIN+31', 'RTMAX-31', 'constructor', '1e1']) {
  test(`refused: ${JSON.stringify(bad)}`, () => {
    assert.throws(
      () => signalNumber(bad),
      (e) => isKeelsonError(e, 'invalid-argument'),
    );
  });
}
