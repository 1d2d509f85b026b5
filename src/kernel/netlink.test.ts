import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import {
  bytes,
  decodeAttributeList,
  decodeAttributes,
  decodeMessages,
  encodeBatch,
  filled,
  nested,
  NLM_F_ACK,
  NLM_F_DUMP,
  numberOf,
  slotsNamed,
  slotted,
  text,
  textOf,
  u16,
  u32,
  u8,
  type Message,
} from './netlink.ts';

const message = (change: Partial<Message> = {}): Message => ({
  type: 16,
  flags: 0,
  header: new Uint8Array(4),
  attributes: [],
  ...change,
});

test('an attribute is padded, its length is not', () => {
  const { bytes: sent } = encodeBatch([message({ attributes: [text(3, 'lo'), u8(5, 7)] })]);
  assert.equal(Buffer.from(sent).toString('hex', 20), '070003006c6f00000500050007000000');
});

test('a payload of 65,531 bytes is the longest; one more is refused instead of wrapping the length (CVE-2021-43784)', () => {
  assert.equal(bytes(1, new Uint8Array(65531)).payload.length, 65531);
  assert.throws(
    () => bytes(1, new Uint8Array(65532)),
    (error) => isKeelsonError(error, 'invalid-argument') && /65532 bytes/.test(error.message),
  );
});

test('nesting counts: many small attributes can’t make one that is too long', () => {
  const list = Array.from({ length: 8192 }, (_, i) => u32(i % 100, i));
  assert.throws(
    () => nested(2, list),
    (error) => isKeelsonError(error, 'invalid-argument'),
  );
});

test('integers that don’t fit are refused', () => {
  assert.throws(() => u8(1, 256), /not an integer of 8 bits/);
  assert.throws(() => u16(1, -1), /not an integer of 16 bits/);
  assert.throws(() => u32(1, 2 ** 32), /not an integer of 32 bits/);
  assert.throws(() => u32(1, 1.5), /not an integer/);
});

test('a string with a NUL is refused', () => {
  assert.throws(() => text(1, 'a\0b'), /NUL/);
});

test('acks count the messages that ask for one, and dumps, which end with NLMSG_DONE', () => {
  const batch = encodeBatch([message({ flags: NLM_F_ACK }), message(), message({ flags: NLM_F_DUMP })]);
  assert.equal(batch.acks, 2);
  assert.deepEqual(
    decodeMessages(batch.bytes).map((one) => one.sequence),
    [1, 2, 3],
  );
});

test('slots are offsets in the whole batch, however deeply nested', () => {
  const batch = encodeBatch([
    message({ attributes: [text(1, 'pad')] }),
    message({
      header: new Uint8Array(8),
      headerSlots: [{ name: 'index', at: 4 }],
      attributes: [nested(18, [u32(1, 0), nested(2, [slotted('pid', u32(19, 0))])]), filled(10, { slot: 'index' })],
    }),
  ]);
  const view = Buffer.from(batch.bytes);
  for (const at of slotsNamed(batch, 'pid')) view.writeUInt32LE(4711, at);
  for (const at of slotsNamed(batch, 'index')) view.writeUInt32LE(9, at);
  const second = decodeMessages(view)[1];
  assert.ok(second);
  assert.equal(Buffer.from(second.body).readUInt32LE(4), 9);
  const attributes = decodeAttributes(second.body.subarray(8));
  const inner = decodeAttributes(decodeAttributes(attributes.get(18) ?? new Uint8Array()).get(2) ?? new Uint8Array());
  assert.equal(numberOf(inner.get(19)), 4711);
  assert.equal(numberOf(attributes.get(10)), 9);
  assert.throws(() => slotsNamed(batch, 'nothing'), /without a slot nothing/);
});

test('what is decoded is what was encoded', () => {
  const batch = encodeBatch([message({ attributes: [text(3, 'eth0'), u32(4, 1500)] })]);
  const [one] = decodeMessages(batch.bytes);
  const attributes = decodeAttributes(one?.body.subarray(4) ?? new Uint8Array());
  assert.equal(textOf(attributes.get(3)), 'eth0');
  assert.equal(numberOf(attributes.get(4)), 1500);
});

test('lengths that lead outside are found', () => {
  const good = Buffer.from(encodeBatch([message({ attributes: [text(3, 'eth0')] })]).bytes);
  for (const size of [0, 15, 33, 0xffffffff]) {
    const bad = Buffer.from(good);
    bad.writeUInt32LE(size, 0);
    assert.throws(
      () => decodeMessages(bad),
      (error) => isKeelsonError(error, 'corrupt'),
      `message of ${size}`,
    );
  }
  for (const size of [0, 3, 13, 0xffff]) {
    const bad = Buffer.from(good.subarray(20));
    bad.writeUInt16LE(size, 0);
    assert.throws(
      () => decodeAttributeList(bad),
      (error) => isKeelsonError(error, 'corrupt'),
      `attribute of ${size}`,
    );
  }
  assert.throws(() => decodeMessages(good.subarray(0, 10)), /length 0/);
});
