import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp, parsePrefix } from './ip-address.ts';
import { decodeAttributeList, decodeMessages, encodeBatch, slotsNamed, type Message } from './netlink.ts';
import {
  addElements,
  decodeChain,
  decodeElements,
  deleteElements,
  encodeTransaction,
  getElement,
  newChain,
  newRule,
  newSet,
  newTable,
  placeholder,
  priorities,
} from './nftables.ts';
import {
  counter,
  ctState,
  ctStatus,
  lookupMap,
  masquerade,
  meta,
  nat,
  notrack,
  payload,
  verdict,
  whenAddress,
  whenAddressType,
  whenCt,
  whenFamily,
  whenInterface,
} from './nftables-expressions.ts';

const table = { family: 'inet', name: 'keelson' } as const;

/** What nft 1.0.6 sent for the command, seen with strace; sequence numbers are its own. */
function sameAsNft(command: string, message: Message, seen: string): void {
  test(`the same bytes as nft for \`${command}\``, () => {
    const sequence = Buffer.from(seen, 'hex').readUInt32LE(8);
    assert.equal(Buffer.from(encodeBatch([message], sequence).bytes).toString('hex'), seen);
  });
}

sameAsNft(
  'add table inet keelson',
  newTable(table),
  '28000000000a01000100000000000000010000000c0001006b65656c736f6e000800020000000000',
);
sameAsNft(
  'chain guard { type filter hook prerouting priority raw; policy accept; }',
  newChain(table, 'guard', { type: 'filter', hook: 'prerouting', priority: priorities.raw, policy: 'accept' }),
  '54000000030a01040200000000000000010000000c0001006b65656c736f6e000a00030067756172640000000b00070066696c7465720000080005000000000114000480080001000000000008000200fffffed4',
);
sameAsNft(
  'chain publish',
  newChain(table, 'publish'),
  '2c000000030a01040300000000000000010000000c0001006b65656c736f6e000c0003007075626c69736800',
);
sameAsNft(
  'chain postrouting { type nat hook postrouting priority srcnat; policy accept; }',
  newChain(table, 'postrouting', { type: 'nat', hook: 'postrouting', priority: priorities.srcnat, policy: 'accept' }),
  '54000000030a01040600000000000000010000000c0001006b65656c736f6e0010000300706f7374726f7574696e6700080007006e61740008000500000000011400048008000100000000040800020000000064',
);
sameAsNft(
  'guard iifname keelson0 ip daddr 127.0.0.0/8 drop',
  newRule(table, 'guard', [
    ...whenInterface('iifname', '==', 'keelson0'),
    ...whenAddress('daddr', parsePrefix('127.0.0.0/8')),
    verdict('drop'),
  ]),
  '6c010000060a010c0f00000000000000010000000c0001006b65656c736f6e000a00020067756172640000004001048024000180090001006d6574610000000014000280080002000000000608000100000000013800018008000100636d70002c0002800800010000000001080002000000000018000380140001006b65656c736f6e30000000000000000024000180090001006d6574610000000014000280080002000000000f08000100000000012c00018008000100636d700020000280080001000000000108000200000000000c0003800500010002000000340001800c0001007061796c6f6164002400028008000100000000010800020000000001080003000000001008000400000000012c00018008000100636d700020000280080001000000000108000200000000000c000380050001007f000000300001800e000100696d6d6564696174650000001c0002800800010000000000100002800c0002800800010000000000',
);
sameAsNft(
  'prerouting ip daddr 127.0.0.0/8 return',
  newRule(table, 'prerouting', [...whenAddress('daddr', parsePrefix('127.0.0.0/8')), verdict('return')]),
  '14010000060a010c1400000000000000010000000c0001006b65656c736f6e000f000200707265726f7574696e670000e400048024000180090001006d6574610000000014000280080002000000000f08000100000000012c00018008000100636d700020000280080001000000000108000200000000000c0003800500010002000000340001800c0001007061796c6f6164002400028008000100000000010800020000000001080003000000001008000400000000012c00018008000100636d700020000280080001000000000108000200000000000c000380050001007f000000300001800e000100696d6d6564696174650000001c0002800800010000000000100002800c00028008000100fffffffb',
);
sameAsNft(
  'prerouting fib daddr type local goto publish',
  newRule(table, 'prerouting', [...whenAddressType('daddr', 'local'), verdict({ goto: 'publish' })]),
  'c4000000060a010c1500000000000000010000000c0001006b65656c736f6e000f000200707265726f7574696e670000940004802800018008000100666962001c0002800800030000000002080002000000000308000100000000012c00018008000100636d700020000280080001000000000108000200000000000c00038008000100020000003c0001800e000100696d6d6564696174650000002800028008000100000000001c0002801800028008000100fffffffc0c0002007075626c69736800',
);
sameAsNft(
  'postrouting oifname != keelson0 ip6 saddr fd77::/64 masquerade',
  newRule(table, 'postrouting', [
    ...whenInterface('oifname', '!=', 'keelson0'),
    ...whenAddress('saddr', parsePrefix('fd77::/64')),
    masquerade(),
  ]),
  '58010000060a010c1800000000000000010000000c0001006b65656c736f6e0010000200706f7374726f7574696e67002801048024000180090001006d6574610000000014000280080002000000000708000100000000013800018008000100636d70002c0002800800010000000001080002000000000118000380140001006b65656c736f6e30000000000000000024000180090001006d6574610000000014000280080002000000000f08000100000000012c00018008000100636d700020000280080001000000000108000200000000000c000380050001000a000000340001800c0001007061796c6f6164002400028008000100000000010800020000000001080003000000000808000400000000083000018008000100636d70002400028008000100000000010800020000000000100003800c000100fd7700000000000014000180090001006d6173710000000004000280',
);
sameAsNft(
  'postrouting oifname keelson0 ip saddr 10.77.0.0/16 ct status dnat masquerade',
  newRule(table, 'postrouting', [
    ...whenInterface('oifname', '==', 'keelson0'),
    ...whenAddress('saddr', parsePrefix('10.77.0.0/16')),
    ...whenCt('status', ctStatus.dnat),
    masquerade(),
  ]),
  'e4010000060a010c1a00000000000000010000000c0001006b65656c736f6e0010000200706f7374726f7574696e6700b401048024000180090001006d6574610000000014000280080002000000000708000100000000013800018008000100636d70002c0002800800010000000001080002000000000018000380140001006b65656c736f6e30000000000000000024000180090001006d6574610000000014000280080002000000000f08000100000000012c00018008000100636d700020000280080001000000000108000200000000000c0003800500010002000000340001800c0001007061796c6f6164002400028008000100000000010800020000000001080003000000000c08000400000000022c00018008000100636d700020000280080001000000000108000200000000000c000380060001000a4d00002000018007000100637400001400028008000200000000020800010000000001440001800c0001006269747769736500340002800800010000000001080002000000000108000300000000040c00048008000100200000000c00058008000100000000002c00018008000100636d700020000280080001000000000108000200000000010c000380080001000000000014000180090001006d6173710000000004000280',
);
sameAsNft(
  'forward oifname keelson0 ct state established,related accept',
  newRule(table, 'forward', [
    ...whenInterface('oifname', '==', 'keelson0'),
    ...whenCt('state', ctState.established | ctState.related),
    verdict('accept'),
  ]),
  '4c010000060a010c1c00000000000000010000000c0001006b65656c736f6e000c000200666f7277617264002001048024000180090001006d6574610000000014000280080002000000000708000100000000013800018008000100636d70002c0002800800010000000001080002000000000018000380140001006b65656c736f6e3000000000000000002000018007000100637400001400028008000200000000000800010000000001440001800c0001006269747769736500340002800800010000000001080002000000000108000300000000040c00048008000100060000000c00058008000100000000002c00018008000100636d700020000280080001000000000108000200000000010c0003800800010000000000300001800e000100696d6d6564696174650000001c0002800800010000000000100002800c0002800800010000000001',
);
sameAsNft(
  'forward ip saddr 172.20.16.0/20 counter notrack',
  newRule(table, 'forward', [...whenAddress('saddr', parsePrefix('172.20.16.0/20')), counter(), notrack()]),
  '48010000060a010c0100000000000000010000000c0001006b65656c736f6e000c000200666f7277617264001c01048024000180090001006d6574610000000014000280080002000000000f08000100000000012c00018008000100636d700020000280080001000000000108000200000000000c0003800500010002000000340001800c0001007061796c6f6164002400028008000100000000010800020000000001080003000000000c0800040000000004440001800c0001006269747769736500340002800800010000000001080002000000000108000300000000040c00048008000100fffff0000c00058008000100000000002c00018008000100636d700020000280080001000000000108000200000000000c00038008000100ac141000140001800c000100636f756e7465720004000280100001800c0001006e6f747261636b00',
);
const service = [{ value: Uint8Array.of(17) }, { value: Uint8Array.of(0, 53) }];
const backend = [{ value: parseIp('10.77.0.3') }, { value: Uint8Array.of(0x14, 0xe9) }];

// nft also sends NFTA_SET_ELEM_LIST_SET_ID, which the kernel looks at when the name is of a set made in the same batch.
sameAsNft(
  'add element inet keelson publish4_any { udp . 53 : 10.77.0.3 . 5353 }',
  addElements(table, 'publish4_any', [{ key: service, data: backend }]),
  '5c0000000c0a01040100000000000000010000000c0001006b65656c736f6e00110002007075626c697368345f616e79000000002800038024000180100001800c0001001100000000350000100002800c0001000a4d000314e90000',
);
sameAsNft(
  'delete element inet keelson publish4_any { udp . 53 : 10.77.0.3 . 5353 }',
  deleteElements(table, 'publish4_any', [{ key: service, data: backend }]),
  '4c0000000e0a01000100000000000000010000000c0001006b65656c736f6e00110002007075626c697368345f616e79000000001800038014000180100001800c0001001100000000350000',
);

test('a transaction is bracketed, and its last change alone asks for the acknowledgement', () => {
  const batch = encodeTransaction([newTable(table), newChain(table, 'publish')]);
  assert.equal(batch.acks, 1);
  const messages = decodeMessages(batch.bytes);
  assert.deepEqual(
    messages.map(({ type, flags }) => [type, (flags & 4) !== 0]),
    [
      [0x10, false],
      [0xa00, false],
      [0xa03, true],
      [0x11, false],
    ],
  );
  assert.equal(Buffer.from(messages[0]?.body ?? []).toString('hex'), '0000000a');
});

test('the address in a map’s rule is read from the words behind the port’s', () => {
  const rule = newRule(table, 'publish', [
    ...whenFamily('ip'),
    meta('l4proto', 0),
    payload('transport', 2, 2, 1),
    lookupMap('publish4_any', { to: 0 }),
    nat({ type: 'dnat', family: 'ip', address: 0, port: 1 }),
  ]);
  const list = rule.attributes.at(-1);
  assert.ok(list);
  assert.equal(decodeAttributeList(list.payload).length, 6);
});

test('ports in elements can be filled in later', () => {
  const later = (port: string | number) =>
    encodeTransaction([
      addElements(table, 'm', [
        {
          key: [{ value: Uint8Array.of(6) }, typeof port === 'string' ? placeholder(port, 2) : two(port)],
          data: backend,
        },
      ]),
    ]);
  const batch = later('port');
  const filled = Buffer.from(batch.bytes);
  for (const at of slotsNamed(batch, 'port')) filled.writeUInt16BE(8080, at);
  assert.deepEqual(filled, Buffer.from(later(8080).bytes));
});

function two(port: number): { value: Uint8Array } {
  return { value: Uint8Array.of(port >> 8, port & 0xff) };
}

test('elements come back as they went', () => {
  const [, sent] = decodeMessages(
    encodeTransaction([addElements(table, 'publish4_any', [{ key: service, data: backend }])]).bytes,
  );
  assert.ok(sent);
  const decoded = decodeElements(sent);
  assert.equal(decoded?.table, 'keelson');
  assert.equal(decoded?.set, 'publish4_any');
  assert.deepEqual(
    decoded?.elements.map(({ key, data }) => [
      Buffer.from(key).toString('hex'),
      Buffer.from(data ?? []).toString('hex'),
    ]),
    [['1100000000350000', '0a4d000314e90000']],
  );
});

test('chains come back with hook, priority and policy', () => {
  const base = { type: 'filter', hook: 'forward', priority: -5, policy: 'drop' } as const;
  const [, one, other] = decodeMessages(encodeTransaction([newChain(table, 'f', base), newChain(table, 'g')]).bytes);
  assert.ok(one && other);
  assert.deepEqual(decodeChain(one), {
    family: 'inet',
    table: 'keelson',
    name: 'f',
    base: { type: 'filter', hook: 2, priority: -5, drops: true },
  });
  assert.deepEqual(decodeChain(other), { family: 'inet', table: 'keelson', name: 'g' });
  assert.equal(decodeElements(one), undefined);
});

test('questions about one element are not dumps', () => {
  const batch = encodeBatch([getElement(table, 'revision', { key: [{ value: Uint8Array.of(1, 2, 3, 4) }] })]);
  assert.equal(batch.acks, 1);
  assert.equal(decodeMessages(batch.bytes)[0]?.flags, 5);
});

test('names that nftables has no room for are refused', () => {
  assert.throws(() => newSet(table, { name: '', key: ['mark'] }, 1), /can't be a name/);
  assert.throws(() => newTable({ family: 'inet', name: 'x'.repeat(256) }), /can't be a name/);
});
