import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { test } from 'node:test';
import { addressAt, formatIp, formatPrefix, parseIp, parsePrefix, prefixesOverlap, tryParseIp } from './ip-address.ts';

test('addresses go to bytes and back in canonical form', () => {
  const pairs = {
    '10.77.0.1': '10.77.0.1',
    '::': '::',
    '::1': '::1',
    '1::': '1::',
    'FD00:0:0:1::0002': 'fd00:0:0:1::2',
    '2001:db8:0:1:1:1:1:1': '2001:db8:0:1:1:1:1:1',
    '2001:0:0:1:0:0:0:1': '2001:0:0:1::1',
    '::ffff:192.0.2.1': '::ffff:192.0.2.1',
    '64:ff9b::192.0.2.33': '64:ff9b::c000:221',
    '1:2:3:4:5:6:7:8': '1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:1.2.3.4': '1:2:3:4:5:6:102:304',
    '::1.2.3.4': '::102:304',
    '1:2:3:4:5:6:7::': '1:2:3:4:5:6:7:0',
  };
  for (const [written, canonical] of Object.entries(pairs))
    assert.equal(formatIp(parseIp(written)), canonical, written);
});

test('what is no address is refused', () => {
  const bad4 = ['', '1.2.3', '1.2.3.256', '1.2.3.04', '1.2.3.4.5', '1..2.3', 'localhost', '1.2.3.4/8', '0x1.2.3.4'];
  const bad6 = [
    ':',
    ':::',
    '1::2::3',
    'fe80::1%eth0',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7::8',
    '::12345',
  ];
  const mixed = ['::1.2.3', '1.2.3.4::', '::1.2.3.4:5', '1:2:3:4:5:6:7:1.2.3.4', ':1', '1:', '::g'];
  for (const bad of [...bad4, ...bad6, ...mixed]) {
    assert.equal(tryParseIp(bad), undefined, bad);
  }
  assert.throws(() => parseIp('nowhere'), /"nowhere" is not an IP address/);
});

test('prefixes are read strictly', () => {
  assert.equal(formatPrefix(parsePrefix('10.77.0.0/16')), '10.77.0.0/16');
  assert.equal(formatPrefix(parsePrefix('fd00:1::/64')), 'fd00:1::/64');
  for (const bad of ['10.77.0.0', '10.77.0.1/16', '10.0.0.0/33', '10.0.0.0/-1', '10.0.0.0/', '/8', 'fd00::1/64']) {
    assert.throws(() => parsePrefix(bad), bad);
  }
});

test('prefixes overlap when one contains the other', () => {
  const overlap = (a: string, b: string): boolean => prefixesOverlap(parsePrefix(a), parsePrefix(b));
  assert.ok(overlap('10.0.0.0/8', '10.77.0.0/16'));
  assert.ok(overlap('10.77.0.0/16', '10.77.128.0/20'));
  assert.ok(overlap('0.0.0.0/0', '10.77.0.0/16'));
  assert.ok(!overlap('10.76.0.0/16', '10.77.0.0/16'));
  assert.ok(!overlap('10.64.0.0/13', '10.77.0.0/16'));
  assert.ok(!overlap('::/0', '10.77.0.0/16'));
});

test('the n-th address of a prefix', () => {
  assert.equal(formatIp(addressAt(parsePrefix('10.77.0.0/16'), 1)), '10.77.0.1');
  assert.equal(formatIp(addressAt(parsePrefix('10.77.0.0/16'), 65534)), '10.77.255.254');
  assert.equal(formatIp(addressAt(parsePrefix('192.168.16.0/20'), 4094)), '192.168.31.254');
  assert.equal(formatIp(addressAt(parsePrefix('fd00:1::/64'), 65534)), 'fd00:1::fffe');
  assert.throws(() => addressAt(parsePrefix('10.77.0.0/16'), 65536), /lies outside/);
});

test('agrees with node:net on what is an address', () => {
  const pieces = ['', '0', '1', 'ffff', '::', ':', '1.2.3.4', '255', '.', 'g'];
  let seed = 7;
  const next = (): number => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) >> 8;
  for (let i = 0; i < 20000; i++) {
    const parts = Array.from({ length: (next() % 10) + 1 }, () => pieces[next() % pieces.length]);
    const written = parts.join(next() % 2 ? ':' : '');
    assert.equal(tryParseIp(written) !== undefined, isIP(written) !== 0, written);
  }
});
