import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp, parsePrefix } from './ip-address.ts';
import { encodeBatch, slotsNamed, type Message } from './netlink.ts';
import { interfaceName, newAddress, newBridge, newRoute, newVeth, parseMac, setLink } from './netlink-route.ts';

/** What iproute2 6.1 sent for the command, seen with strace; sequence numbers are its own. */
function sameAsIproute2(command: string, message: Message, seen: string): void {
  test(`the same bytes as \`${command}\``, () => {
    const sequence = Buffer.from(seen, 'hex').readUInt32LE(8);
    assert.equal(Buffer.from(encodeBatch([message], sequence).bytes).toString('hex'), seen);
  });
}

sameAsIproute2(
  'ip link add keelson0 address 02:42:0a:4d:00:01 mtu 1500 type bridge',
  newBridge({ name: 'keelson0', mac: '02:42:0a:4d:00:01', mtu: 1500 }),
  '54000000100005065488026b00000000000000000000000000000000000000000a00010002420a4d0001000008000400dc0500000d0003006b65656c736f6e3000000000100012000a0001006272696467650000',
);
sameAsIproute2(
  'ip link add br9 type bridge forward_delay 200 stp_state 0 vlan_filtering 1 mcast_snooping 0',
  newBridge({ name: 'br9', forwardDelay: 200, stp: false, vlanFiltering: true, multicastSnooping: false }),
  '5c00000010000506008b026b00000000000000000000000000000000000000000800030062723900340012000a00010062726964676500002400020008000100c8000000080005000000000005000700010000000500170000000000',
);
sameAsIproute2(
  'ip addr add 10.77.0.1/16 brd 10.77.255.255 dev keelson0',
  newAddress(2, parseIp('10.77.0.1'), 16),
  '30000000140005065488026b000000000210000002000000080002000a4d0001080004000a4dffff080001000a4d0001',
);
sameAsIproute2(
  'ip -6 addr add fd00:1::1/64 dev keelson0 nodad',
  newAddress(2, parseIp('fd00:1::1'), 64),
  '40000000140005065488026b000000000a4002000200000014000200fd00000100000000000000000000000114000100fd000001000000000000000000000001',
);
sameAsIproute2(
  'ip route add default via 10.77.0.9 dev keelson0',
  newRoute({ gateway: parseIp('10.77.0.9'), index: 2 }),
  '2c000000180005065488026b0000000002000000fe03000100000000080005000a4d00090800040002000000',
);
sameAsIproute2(
  'ip link set lo up',
  setLink({ index: 1 }, { up: true }),
  '20000000100005005488026b0000000000000000010000000100000001000000',
);
sameAsIproute2(
  'ip link add ke1 mtu 1500 type veth peer name ethx address 02:42:0a:4d:00:02 mtu 1500 netns 26354',
  reorderedPeer(
    newVeth({
      name: 'ke1',
      mtu: 1500,
      peer: { name: 'ethx', mac: '02:42:0a:4d:00:02', mtu: 1500, netns: { pid: 26354 } },
    }),
  ),
  '7c00000010000506008b026b000000000000000000000000000000000000000008000400dc050000080003006b6531004c0012000800010076657468400002003c000100000000000000000000000000000000000a00010002420a4d0002000008000400dc05000008001300f2660000090003006574687800000000',
);

/** iproute2 names the peer last; the order of attributes has no meaning. */
function reorderedPeer(message: Message): Message {
  const info = message.attributes.at(-1);
  assert.ok(info);
  const payload = Buffer.from(info.payload);
  const peer = payload.subarray(16 + 16);
  const [address, name, pid] = [peer.subarray(0, 20), peer.subarray(20, 32), peer.subarray(32, 40)];
  const swapped = Buffer.concat([payload.subarray(0, 32), address, pid, name]);
  return { ...message, attributes: [...message.attributes.slice(0, -1), { ...info, payload: swapped }] };
}

test('the peer’s process and the bridge’s index can be filled in later', () => {
  const netns = { pid: { slot: 'pid' } };
  const later = encodeBatch([newVeth({ name: 'v', master: { slot: 'bridge' }, peer: { name: 'eth0', netns } })]);
  const filled = Buffer.from(later.bytes);
  for (const at of slotsNamed(later, 'pid')) filled.writeUInt32LE(77, at);
  for (const at of slotsNamed(later, 'bridge')) filled.writeUInt32LE(5, at);
  const now = encodeBatch([newVeth({ name: 'v', master: 5, peer: { name: 'eth0', netns: { pid: 77 } } })]);
  assert.deepEqual(filled, Buffer.from(now.bytes));
});

test('a route to a network carries its prefix', () => {
  const message = newRoute({ destination: parsePrefix('10.0.0.0/8'), gateway: parseIp('10.77.0.1') });
  assert.equal(message.header[1], 8);
});

test('names of interfaces are checked as the kernel does', () => {
  for (const good of ['eth0', 'keelson0', 'a.b', 'veth-1234567890']) assert.equal(interfaceName(good), good);
  for (const bad of ['', '.', '..', 'a/b', 'a b', 'a:1', 'sixteen-letters-', 'a\0', 'ä'.repeat(8)]) {
    assert.throws(() => interfaceName(bad), /can't be the name of a network interface/, bad);
  }
});

test('MAC addresses are checked', () => {
  assert.deepEqual(parseMac('02:42:0a:4d:00:01'), Uint8Array.of(2, 0x42, 0x0a, 0x4d, 0, 1));
  for (const bad of ['', '02:42:0a:4d:00', '02-42-0a-4d-00-01', '02:42:0a:4d:00:01:02', 'zz:42:0a:4d:00:01']) {
    assert.throws(() => parseMac(bad), /is not a MAC address/, bad);
  }
});
