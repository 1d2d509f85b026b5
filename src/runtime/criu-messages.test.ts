import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeAnswer, decodeMessage, encodeMessage } from './criu-messages.ts';

test('messages are protocol buffers, byte for byte', () => {
  // As protoc encodes {1: 150, 2: "testing", 3: true, 38: 0x40000000}.
  const bytes = encodeMessage([
    [1, 150],
    [2, 'testing'],
    [3, true],
    [4, undefined],
    [38, 0x40000000],
  ]);
  assert.equal(bytes.toString('hex'), '089601120774657374696e671801b0028080808004');
  assert.deepEqual(
    decodeMessage(bytes),
    new Map<number, unknown>([
      [1, 150],
      [2, Buffer.from('testing')],
      [3, 1],
      [38, 0x40000000],
    ]),
  );
});

test('repeated fields and messages in messages', () => {
  const inner = encodeMessage([
    [1, 'a'],
    [2, 7],
  ]);
  const bytes = encodeMessage([[23, [inner, inner]]]);
  assert.equal(bytes.toString('hex'), 'ba01050a01611007'.repeat(2));
});

test('an answer tells what is done with which process', () => {
  const bytes = encodeMessage([
    [1, 6],
    [2, true],
    [
      5,
      encodeMessage([
        [1, 'post-restore'],
        [2, 4321],
      ]),
    ],
  ]);
  assert.deepEqual(decodeAnswer(bytes).notify, { script: 'post-restore', pid: 4321 });
});

test('what is cut off or no message is an error', () => {
  const whole = encodeMessage([
    [1, 300],
    [2, 'text'],
  ]);
  for (const size of [1, 2, 4, 6]) assert.throws(() => decodeMessage(whole.subarray(0, size)), /criu/, `${size} bytes`);
  assert.throws(() => decodeMessage(Buffer.from('0d00000000', 'hex')), /criu/, 'a fixed-size field');
  assert.throws(() => decodeMessage(Buffer.alloc(64, 0xff)), /criu/, 'a number without end');
});
