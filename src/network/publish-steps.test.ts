import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatIp } from '../kernel/ip-address.ts';
import type { Op } from '../kernel/plan.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import { addressesOf } from './pool.ts';
import { PublishSteps, type Backend } from './publish-steps.ts';
import { keelsonTable } from './ruleset.ts';
import type { PortSpec } from './types.ts';

const web: PortSpec = { hostIp: '', hostPort: 8080, containerPort: 80, protocol: 'tcp' };
const addresses = addressesOf({ pool: '10.77.0.0/16', pool6: 'fd00:1::/64' }, 2);
const dual: Backend = { addresses, hostIpv6: true, forwards6: true };
const four: Backend = {
  addresses: addressesOf({ pool: '10.77.0.0/16', pool6: '' }, 2),
  hostIpv6: false,
  forwards6: false,
};
/** A host with IPv6 that doesn't forward it. */
const still: Backend = { ...dual, forwards6: false };

function plan(specs: readonly PortSpec[], backend: Backend) {
  const steps = new PublishSteps(specs, backend, keelsonTable);
  const b = new PlanBuilder('x86_64').group('network').doing('testing');
  steps.reserve(b);
  steps.forward(b, b.reg('nf'));
  const { ops, blobs } = b.build();
  const texts = ops.flatMap((op) => (op.op === 'netlink' ? [blobs[op.at.blob]?.text ?? ''] : []));
  return { steps, ops, forwarded: texts.find((text) => text.startsWith('newelement')) };
}

const calls = (ops: readonly Op[], name: string): (readonly unknown[])[] =>
  ops.flatMap((op) => (op.op === 'syscall' && op.name === name ? [op.args] : []));

test('one socket holds a port of every address, IPv4 and IPv6', () => {
  const { steps, ops, forwarded } = plan([web], dual);
  assert.deepEqual(
    calls(ops, 'socket').map(([family]) => family),
    [10],
  );
  assert.equal(forwarded, 'newelement tcp 0.0.0.0 8080 : 10.77.0.2 80, tcp :: 8080 : fd00:1::2 80');
  assert.deepEqual(
    steps.bound([]).map(({ hostIp }) => hostIp),
    ['0.0.0.0', '::'],
  );
  assert.ok(steps.reachesLoopback);
});

test('a host without IPv6 publishes on IPv4 alone', () => {
  const { steps, ops, forwarded } = plan([web], four);
  assert.deepEqual(
    calls(ops, 'socket').map(([family]) => family),
    [2],
  );
  assert.equal(forwarded, 'newelement tcp 0.0.0.0 8080 : 10.77.0.2 80');
  assert.equal(steps.bound([]).length, 1);
  assert.throws(() => plan([{ ...web, hostIp: '::1' }], four), /publishing \[::1\]:8080\/tcp: this host has no IPv6/);
});

test('where IPv6 is not forwarded, TCP is relayed and UDP is IPv4 only', () => {
  const { forwarded, steps } = plan([web, { ...web, protocol: 'udp' }], still);
  assert.equal(forwarded, 'newelement tcp 0.0.0.0 8080 : 10.77.0.2 80, udp 0.0.0.0 8080 : 10.77.0.2 80');
  assert.deepEqual(
    steps.bound([]).map(({ hostIp, protocol }) => `${hostIp} ${protocol}`),
    ['0.0.0.0 tcp', ':: tcp', '0.0.0.0 udp'],
  );
  assert.throws(
    () => plan([{ ...web, hostIp: '::', protocol: 'udp' }], still),
    /publishing \[::\]:8080\/udp: IPv6 is not forwarded/,
  );
});

test('relays lead to IPv4, but for ports of an IPv6 address', () => {
  const target = (to: Uint8Array): string => formatIp(to.subarray(to[0] === 2 ? 4 : 8, to[0] === 2 ? 8 : 24));
  const { steps } = plan([web, { ...web, hostIp: '::1', hostPort: 1 }, { ...web, protocol: 'udp', hostPort: 2 }], dual);
  assert.deepEqual(
    steps.relays().map(({ to }) => target(to)),
    ['10.77.0.2', 'fd00:1::2'],
  );
  assert.deepEqual(Buffer.from(steps.relays()[0]?.to ?? []).readUInt16BE(2), 80);
});

test('chosen ports come back in network order', () => {
  const { steps } = plan([{ ...web, hostPort: 0 }, web, { ...web, hostPort: 8000, hostPortEnd: 8001 }], four);
  assert.equal(steps.chosen.length, 2);
  assert.deepEqual(
    steps.bound([0x3412n, 0x411fn]).map(({ hostPort }) => hostPort),
    [0x1234, 8080, 8001],
  );
});

test('a port on another address than 127.0.0.0/8 needs no way from there', () => {
  for (const [hostIp, reaches] of [
    ['127.0.0.1', true],
    ['127.1.2.3', true],
    ['0.0.0.0', true],
    ['192.0.2.1', false],
    ['::', false],
  ] as const) {
    assert.equal(plan([{ ...web, hostIp }], dual).steps.reachesLoopback, reaches, hostIp);
  }
});

test('UDP connections of before are forgotten, TCP ones are not', () => {
  const forgets = (spec: PortSpec): boolean =>
    plan([spec], dual).ops.some((op) => op.doing.startsWith('forgetting connections'));
  assert.ok(forgets({ ...web, protocol: 'udp' }));
  assert.ok(forgets({ ...web, protocol: 'udp', hostPort: 0 }));
  assert.ok(!forgets(web));
});

test('without ports nothing is done', () => {
  const { ops, steps } = plan([], dual);
  assert.deepEqual(ops, []);
  assert.deepEqual(steps.relays(), []);
});
