import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostsFile } from './hosts-file.ts';
import { formatExtraHost, parseDns, parseDnsOption, parseDnsSearch, parseExtraHost } from './parse-dns.ts';
import { hostResolvConf, resolvConf } from './resolv-conf.ts';

test('--dns takes addresses', () => {
  assert.equal(parseDns(' 192.0.2.1 '), '192.0.2.1');
  assert.equal(parseDns('2001:DB8::1'), '2001:db8::1');
  assert.throws(() => parseDns('dns.example'), /IP address is not correctly formatted: dns.example/);
});

test('--dns-search takes domains, or a dot for none', () => {
  for (const good of ['.', 'example.com', 'a', '_sip._udp.example.', 'foo-bar.example']) {
    assert.equal(parseDnsSearch(good), good);
  }
  for (const bad of ['', '-a.com', 'a b', 'a..b', 'x\nnameserver 1.2.3.4', `${'a'.repeat(64)}.com`]) {
    assert.throws(() => parseDnsSearch(bad), /is not a valid domain/, bad);
  }
});

test('--dns-option is one word', () => {
  assert.equal(parseDnsOption('ndots:2'), 'ndots:2');
  for (const bad of ['', 'a b', 'a\nnameserver 1.2.3.4']) assert.throws(() => parseDnsOption(bad), /not an option/);
});

test('--add-host takes both separators, brackets, and host-gateway', () => {
  const forms: Record<string, string> = {
    'db:192.0.2.9': 'db:192.0.2.9',
    'db=192.0.2.9': 'db:192.0.2.9',
    'db:2001:DB8::9': 'db:2001:db8::9',
    'db=[2001:db8::9]': 'db:2001:db8::9',
    'me:host-gateway': 'me:host-gateway',
  };
  for (const [written, kept] of Object.entries(forms)) assert.equal(formatExtraHost(parseExtraHost(written)), kept);
  for (const bad of ['db', ':192.0.2.9', '=1.2.3.4', 'a:b=1.2.3.4', 'a b:1.2.3.4']) {
    assert.throws(() => parseExtraHost(bad), /bad format for add-host/, bad);
  }
  assert.throws(() => parseExtraHost('db:nowhere'), /invalid IP address in add-host: "nowhere"/);
});

const bridge = { hostNetwork: false, ipv6: false };
/** Without its first line, which says who wrote it. */
const lines = (text: string): string[] => text.trimEnd().split('\n').slice(1);

test('resolv.conf is the host’s without servers that mean something else inside', () => {
  const host =
    '# hello\nnameserver 127.0.0.1\nnameserver 192.0.2.1 # x\nnameserver ::1\nnameserver 2001:db8::1\nnameserver fe80::1%eth0\nsearch a.example b.example\noptions ndots:2 edns0\nsortlist 130.155.160.0\n';
  assert.deepEqual(lines(resolvConf({ host, ...bridge })), [
    'nameserver 192.0.2.1',
    'search a.example b.example',
    'options ndots:2 edns0',
    'sortlist 130.155.160.0',
  ]);
  assert.ok(lines(resolvConf({ host, ...bridge, ipv6: true })).includes('nameserver 2001:db8::1'));
  assert.ok(lines(resolvConf({ host, ...bridge, hostNetwork: true })).includes('nameserver 127.0.0.1'));
});

test('public servers stand in when none is left', () => {
  assert.deepEqual(lines(resolvConf({ host: 'nameserver 127.0.0.53\n', ...bridge })), [
    'nameserver 8.8.8.8',
    'nameserver 8.8.4.4',
  ]);
  assert.equal(lines(resolvConf({ host: '', ...bridge, ipv6: true })).length, 4);
});

test('--dns, --dns-search and --dns-option each replace the host’s', () => {
  const host = 'nameserver 192.0.2.1\ndomain old.example\noptions ndots:2\n';
  assert.deepEqual(lines(resolvConf({ host, ...bridge, dns: ['127.0.0.1'] })), [
    'nameserver 127.0.0.1',
    'search old.example',
    'options ndots:2',
  ]);
  assert.deepEqual(lines(resolvConf({ host, ...bridge, search: ['.'], options: ['rotate'] })), [
    'nameserver 192.0.2.1',
    'options rotate',
  ]);
});

test('systemd-resolved’s own servers are used in place of its stub', () => {
  const files: Record<string, string> = {
    '/etc/resolv.conf': 'nameserver 127.0.0.53\noptions edns0\n',
    '/run/systemd/resolve/resolv.conf': 'nameserver 192.0.2.53\n',
  };
  const read = (path: string): string => files[path] ?? '';
  assert.equal(hostResolvConf(read), 'nameserver 192.0.2.53\n');
  files['/etc/resolv.conf'] = 'nameserver 192.0.2.1\nnameserver 127.0.0.53\n';
  assert.equal(hostResolvConf(read), files['/etc/resolv.conf']);
});

test('hosts names the container, its extra hosts, and the host', () => {
  const text = hostsFile({
    hostname: 'web',
    domainname: 'example.com',
    ip: '10.77.0.2',
    ip6: 'fd00:1::2',
    extraHosts: ['db:192.0.2.9', 'host.docker.internal:host-gateway'],
    gateways: ['10.77.0.1', 'fd00:1::1'],
  });
  assert.deepEqual(text.trimEnd().split('\n').slice(-5), [
    '192.0.2.9\tdb',
    '10.77.0.1\thost.docker.internal',
    'fd00:1::1\thost.docker.internal',
    '10.77.0.2\tweb.example.com web',
    'fd00:1::2\tweb.example.com web',
  ]);
  assert.ok(text.startsWith('127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n'));
});

test('hosts begins with the host’s own where the network is the host’s', () => {
  const base = '127.0.0.1 localhost\n192.0.2.7 printer\n\n';
  assert.equal(
    hostsFile({ hostname: 'web', ip: '', ip6: '', base, extraHosts: ['a:1.2.3.4'] }),
    '127.0.0.1 localhost\n192.0.2.7 printer\n1.2.3.4\ta\n',
  );
  assert.throws(
    () => hostsFile({ hostname: 'web', ip: '', ip6: '', extraHosts: ['a:host-gateway'] }),
    /unable to derive the IP value for host-gateway/,
  );
});
