import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { parseIp } from '../kernel/ip-address.ts';
import { decodeMessages, slotsNamed } from '../kernel/netlink.ts';
import { decodeElements } from '../kernel/nftables.ts';
import { installRules, publish, removeElements, revision, rulesKey, unpublish, type Forwarding } from './ruleset.ts';

const pools = { pool: '10.77.0.0/16', pool6: 'fd00:1::/64' };

test('a change of the rules counts their version up', () => {
  // When this fails: count `rulesVersion` up, then write down both new values. Installed tables are told apart by it.
  const digest = createHash('sha256').update(installRules('keelson0', pools).bytes).digest('hex').slice(0, 16);
  assert.deepEqual([rulesKey('keelson0', pools).split(' ')[0], digest], ['2', '8e3a67a965710307']);
});

test('rules for other pools or another bridge have another revision', () => {
  const keys = [
    rulesKey('keelson0', pools),
    rulesKey('keelson1', pools),
    rulesKey('keelson0', { ...pools, pool6: '' }),
    rulesKey('keelson0', pools, { family: 'inet', name: 'other' }),
  ];
  const elements = keys.map((key) => Buffer.from(revision(key).element.key[0]?.value ?? []).toString('hex'));
  assert.equal(new Set(elements).size, 4);
});

const web: Forwarding = { hostPort: 8080, protocol: 'tcp', containerIp: parseIp('10.77.0.2'), containerPort: 80 };

function elementsOf(bytes: Uint8Array): string[] {
  return decodeMessages(bytes).flatMap((message) => {
    const decoded = decodeElements({ ...message, type: message.type === 0xa0e ? 0xa0c : message.type });
    const hex = (data: Uint8Array = new Uint8Array()): string => Buffer.from(data).toString('hex');
    return (decoded?.elements ?? []).map(({ key, data }) => `${decoded?.set} ${hex(key)} ${hex(data)}`.trim());
  });
}

test('a port of every address and one of a single address are looked up in maps of their own, for each family', () => {
  const batch = publish([
    web,
    { ...web, protocol: 'udp', hostIp: parseIp('192.0.2.1') },
    { ...web, containerIp: parseIp('fd00:1::2') },
    { ...web, hostIp: parseIp('2001:db8::1'), containerIp: parseIp('fd00:1::2') },
  ]);
  assert.equal(batch.acks, 1);
  const six = 'fd000001000000000000000000000002';
  assert.deepEqual(elementsOf(batch.bytes), [
    'publish4_any 060000001f900000 0a4d000200500000',
    'publish4 c0000201110000001f900000 0a4d000200500000',
    `publish6_any 060000001f900000 ${six}00500000`,
    `publish6 20010db8000000000000000000000001060000001f900000 ${six}00500000`,
  ]);
});

test('what is unpublished is named by its key alone', () => {
  assert.deepEqual(elementsOf(unpublish([web]).bytes), ['publish4_any 060000001f900000']);
  const key = Buffer.from('060000001f900000', 'hex');
  assert.deepEqual(elementsOf(removeElements([{ map: 'publish4_any', key }]).bytes), ['publish4_any 060000001f900000']);
});

test('ports that are not known yet are slots', () => {
  const batch = publish([{ ...web, hostPort: { slot: 'port0' } }]);
  const [at] = slotsNamed(batch, 'port0');
  const bytes = Buffer.from(batch.bytes);
  bytes.writeUInt16BE(8080, at);
  assert.deepEqual(bytes, Buffer.from(publish([web]).bytes));
});

test('thousands of ports go out in messages that are short enough', () => {
  const many = Array.from({ length: 3000 }, (_, i): Forwarding => ({ ...web, hostPort: 1000 + i }));
  assert.equal(elementsOf(publish(many).bytes).length, 3000);
});
