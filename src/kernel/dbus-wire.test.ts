import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import { type DbusMessage, decodeMessage, encodeMessage, messageTypes } from './dbus-wire.ts';

const start: DbusMessage = {
  type: messageTypes.call,
  serial: 7,
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
  member: 'StartTransientUnit',
  signature: 'ssa(sv)a(sa(sv))',
  body: [
    'a.scope',
    'replace',
    [
      ['PIDs', { type: 'au', value: [1, 2] }],
      ['MemoryMax', { type: 't', value: 2n ** 64n - 1n }],
      ['Delegate', { type: 'b', value: true }],
      ['AllowedCPUs', { type: 'ay', value: Uint8Array.of(5) }],
      ['DeviceAllow', { type: 'a(ss)', value: [['/dev/char/1:3', 'rwm']] }],
    ],
    [],
  ],
};

test('a message that was encoded is decoded as it was, and is not read before it is all there', () => {
  const bytes = encodeMessage(start);
  assert.deepEqual(decodeMessage(bytes)?.message, start);
  assert.equal(decodeMessage(bytes)?.size, bytes.length);
  for (const size of [0, 15, 16, 100, bytes.length - 1])
    assert.equal(decodeMessage(bytes.subarray(0, size)), undefined);
  assert.equal(decodeMessage(Buffer.concat([bytes, bytes]))?.size, bytes.length);
});

test('bytes are laid out as the specification says', () => {
  const hello = encodeMessage({
    type: messageTypes.call,
    serial: 1,
    path: '/a',
    member: 'Hello',
    signature: 'yt',
    body: [1, 2n],
  });
  const words = [
    ...['6c010001', '10000000', '01000000', '28000000'], // little endian, a call, version 1; sizes of body and fields
    ...['01016f00', '02000000', '2f610000', '00000000'], // the path, and what aligns the next field
    ...['03017300', '05000000', '48656c6c6f00', '0000'], // the member
    ...['08016700', '02797400'], // the signature
    ...['0100000000000000', '0200000000000000'], // the body: a byte, and 64 bits aligned
  ];
  assert.equal(hello.toString('hex'), words.join(''));
});

test('what is no message is refused', () => {
  const bytes = encodeMessage(start);
  const broken = (at: number, byte: number) => {
    const copy = Buffer.from(bytes);
    copy[at] = byte;
    return () => decodeMessage(copy);
  };
  for (const refused of [broken(0, 0x78), broken(7, 0x7f), broken(15, 0x7f)])
    assert.throws(refused, (error) => isKeelsonError(error, 'corrupt'));
});
