import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePrefix } from '../kernel/ip-address.ts';
import { readHostNetwork, type HostNetwork } from './host-network.ts';
import { addressesOf, choosePools, hostRange } from './pool.ts';

const empty: HostNetwork = {
  ipv6: true,
  routes: [],
  prefixes6: [],
  forwarding4: false,
  forwarding6: false,
  defaultRoute6Advertised: false,
  nameServers: [],
};
const random = (size: number): Uint8Array => new Uint8Array(size).fill(0xab);
const route = (link: string, prefix: string, gateway = false) => ({ link, destination: parsePrefix(prefix), gateway });
const choose = (host: Partial<HostNetwork>, recorded?: { pool: string; pool6: string }, pool?: string) =>
  choosePools('keelson0', { ...empty, ...host }, recorded, pool === undefined ? { random } : { random, pool });

test('the first private network that nothing on the host leads to', () => {
  assert.deepEqual(choose({}), { pool: '10.77.0.0/16', pool6: 'fdab:abab:abab::/64' });
  assert.equal(choose({ routes: [route('eth0', '10.77.8.0/24')] }).pool, '10.78.0.0/16');
  assert.equal(choose({ routes: [route('tun0', '10.0.0.0/8', true)] }).pool, '172.30.0.0/16');
  assert.equal(choose({ nameServers: ['10.77.0.53', '::1'] }).pool, '10.78.0.0/16');
  assert.throws(
    () => choose({ routes: [route('tun0', '10.0.0.0/8'), route('a', '172.16.0.0/12'), route('b', '192.168.0.0/16')] }),
    /no address pool for keelson0/,
  );
});

test('a network that was chosen stays, unless the host has come to reach something there', () => {
  const recorded = { pool: '10.90.0.0/16', pool6: 'fd00:1::/64' };
  assert.deepEqual(choose({}, recorded), recorded);
  assert.equal(choose({ routes: [route('vpn0', '10.90.4.0/24')] }, recorded).pool, '10.77.0.0/16');
  assert.equal(choose({}, recorded, '10.99.0.0/20').pool, '10.99.0.0/20');
});

test('a bridge that exists decides, and whoever joins it begins at a place of their own', () => {
  const host = {
    routes: [route('keelson0', '10.79.0.0/16')],
    prefixes6: [
      { link: 'eth0', prefix: '2001:db8::/64' },
      { link: 'keelson0', prefix: 'fd00:9::/64' },
    ],
  };
  const begin = 2 + (0xabab % 65533);
  assert.deepEqual(choose(host, { pool: '10.77.0.0/16', pool6: '' }), {
    pool: '10.79.0.0/16',
    pool6: 'fd00:9::/64',
    begin,
  });
});

test('no IPv6 where the host has none', () => {
  assert.equal(choose({ ipv6: false }).pool6, '');
});

test('a container’s addresses share their number; its MAC comes from them', () => {
  const pools = { pool: '10.77.0.0/16', pool6: 'fd00:1::/64' };
  assert.deepEqual(addressesOf(pools, 258), {
    ip: '10.77.1.2',
    prefixLength: 16,
    gateway: '10.77.0.1',
    ip6: 'fd00:1::102',
    prefixLength6: 64,
    gateway6: 'fd00:1::1',
    mac: '02:42:0a:4d:01:02',
  });
  assert.deepEqual(hostRange(pools), { first: 2, last: 65534 });
  assert.deepEqual(hostRange({ pool: '192.168.176.0/20', pool6: '' }), { first: 2, last: 4094 });
});

test('the host’s network is read from /proc', () => {
  const files: Record<string, string> = {
    '/proc/net/route': [
      'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT',
      'eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0',
      'eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0',
      'keelson0\t00004D0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0',
    ].join('\n'),
    '/proc/net/if_inet6': [
      '00000000000000000000000000000001 01 80 10 80       lo',
      'fd000000000000000000000000000002 02 40 00 80     eth0',
      'fe80000000000000000000fffe000001 02 40 20 80     eth0',
    ].join('\n'),
    '/proc/sys/net/ipv6/conf/all/disable_ipv6': '0\n',
    '/proc/sys/net/ipv4/ip_forward': '1\n',
    '/proc/sys/net/ipv6/conf/all/forwarding': '0\n',
    '/proc/net/ipv6_route': [
      '00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0',
      'fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0',
    ].join('\n'),
    '/etc/resolv.conf': '# nameserver 192.0.2.9\nnameserver 192.0.2.1\n nameserver 192.0.2.2 # second\n',
  };
  const host = readHostNetwork((path) => files[path] ?? '');
  assert.deepEqual(host, {
    ipv6: true,
    routes: [route('eth0', '10.0.2.0/24'), route('keelson0', '10.77.0.0/16')],
    prefixes6: [{ link: 'eth0', prefix: 'fd00::/64' }],
    forwarding4: true,
    forwarding6: false,
    defaultRoute6Advertised: true,
    nameServers: ['192.0.2.1', '192.0.2.2'],
  });
  assert.equal(readHostNetwork(() => '').ipv6, false);
});
