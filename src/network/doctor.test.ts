import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Chain } from '../kernel/nftables.ts';
import { judge } from './doctor.ts';

const host = { ipv6: true, forwarding6: true, defaultRoute6Advertised: false };
const calm = { chains: [], legacyTables: [], host, bridge: 'keelson0' };

function forward(family: string, table: string, name: string, drops: boolean): Chain {
  return { family, table, name, base: { type: 'filter', hook: 2, priority: 0, drops } };
}

test('a host without rules is fine', () => {
  assert.deepEqual(
    judge(calm).map(({ status }) => status),
    ['ok', 'ok'],
  );
});

test('chains that drop what passes through are told, with what lets the bridge pass', () => {
  const advice = (...chains: Chain[]) =>
    judge({ ...calm, chains })
      .filter(({ status }) => status === 'warn')
      .map((finding) => finding.advice);
  const iptables = forward('ip', 'filter', 'FORWARD', true);
  const named = (name: string): Chain => ({ family: 'ip', table: 'filter', name });
  assert.deepEqual(advice(iptables), [
    'iptables -I FORWARD -i keelson0 -j ACCEPT && iptables -I FORWARD -o keelson0 -j ACCEPT',
  ]);
  assert.match(advice(iptables, named('DOCKER-USER'))[0] ?? '', /-I DOCKER-USER -i keelson0/);
  assert.match(advice(iptables, named('ufw-user-forward'))[0] ?? '', /^ufw route allow in on keelson0/);
  assert.match(advice(forward('ip6', 'filter', 'FORWARD', true))[0] ?? '', /^ip6tables /);
  assert.match(advice(forward('inet', 'firewalld', 'filter_FORWARD', true))[0] ?? '', /^firewall-cmd /);
  assert.match(
    advice(forward('inet', 'mine', 'fwd', true))[0] ?? '',
    /^nft insert rule inet mine fwd iifname keelson0/,
  );
});

test('chains that accept, other hooks, bridged frames and keelson’s own are no matter', () => {
  const chains = [
    forward('ip', 'filter', 'FORWARD', false),
    forward('bridge', 'filter', 'FORWARD', true),
    forward('inet', 'keelson', 'forward', true),
    { ...forward('inet', 'mine', 'in', true), base: { type: 'filter', hook: 1, priority: 0, drops: true } },
  ];
  assert.equal(judge({ ...calm, chains })[0]?.status, 'ok');
});

test('legacy iptables can’t be looked into, so they are named', () => {
  assert.match(judge({ ...calm, legacyTables: ['nat', 'filter'] })[0]?.detail ?? '', /iptables-legacy/);
});

test('IPv6 forwarding that would cost the host its own route is left off, and told', () => {
  const advertised = { ...host, forwarding6: false, defaultRoute6Advertised: true };
  assert.match(judge({ ...calm, host: advertised })[1]?.advice ?? '', /accept_ra to 2/);
  assert.equal(judge({ ...calm, host: { ...advertised, defaultRoute6Advertised: false } })[1]?.status, 'ok');
  assert.equal(judge({ ...calm, host: { ...host, ipv6: false } }).length, 1);
});
