import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import {
  adjustCapabilities,
  capabilityNames,
  capabilityNumber,
  capabilitySets,
  defaultCapabilities,
  parseCapabilityMask,
} from './capabilities.ts';

test("names and numbers are the kernel's", () => {
  assert.equal(capabilityNumber('CAP_CHOWN'), 0);
  assert.equal(capabilityNumber('sys_admin'), 21);
  assert.equal(capabilityNumber('CAP_CHECKPOINT_RESTORE'), 40);
  assert.equal(capabilityNumber('CAP_NOPE'), undefined);
  assert.equal(capabilityNames.length, 41);
  const last = Number(readFileSync('/proc/sys/kernel/cap_last_cap', 'utf8'));
  assert.ok(last < capabilityNames.length, `this kernel has capability ${last}, unknown here`);
});

test("docker's default set has its well-known mask", () => {
  assert.equal(defaultCapabilities.length, 14);
  const mask = defaultCapabilities.reduce((m, name) => m | (1n << BigInt(capabilityNumber(name) ?? 99)), 0n);
  assert.equal(mask.toString(16), 'a80425fb');
});

test('adding and dropping, as docker does', () => {
  const start = ['CAP_CHOWN', 'CAP_KILL'];
  assert.deepEqual(adjustCapabilities(start, ['net_admin'], ['CAP_KILL']), ['CAP_CHOWN', 'CAP_NET_ADMIN']);
  assert.deepEqual(adjustCapabilities(start, ['KILL'], ['all']), ['CAP_KILL']);
  assert.deepEqual(
    adjustCapabilities(start, ['ALL', 'SYS_ADMIN'], ['sys_admin']),
    capabilityNames.filter((n) => n !== 'CAP_SYS_ADMIN'),
  );
  assert.deepEqual(adjustCapabilities(start, ['ALL'], [], ['CAP_CHOWN']), ['CAP_CHOWN']);
  assert.throws(
    () => adjustCapabilities(start, ['CAP_FOO'], []),
    (e) => isKeelsonError(e, 'invalid-argument') && /CAP_FOO/.test(e.message),
  );
});

test('what cannot be granted is left out with one warning each', () => {
  const warnings: string[] = [];
  const all = ['CAP_CHOWN', 'CAP_SYS_ADMIN', 'CAP_UNHEARD_OF'];
  const sets = capabilitySets(
    { bounding: all, effective: all, permitted: all, inheritable: [], ambient: ['CAP_CHOWN'] },
    { available: [0, 1, 2], warn: (m) => warnings.push(m) },
  );
  assert.deepEqual(sets, { bounding: [0], effective: [0], permitted: [0], inheritable: [], ambient: [] });
  assert.deepEqual(warnings, [
    'capability CAP_SYS_ADMIN cannot be granted here',
    'capability CAP_UNHEARD_OF is unknown',
    "can't raise ambient capability CAP_CHOWN: it is not both permitted and inheritable",
  ]);
});

test('masks of /proc', () => {
  assert.deepEqual(parseCapabilityMask('00000000a80425fb').length, 14);
  assert.deepEqual(parseCapabilityMask('0000010000000001\n'), [0, 40]);
  assert.deepEqual(parseCapabilityMask(''), []);
});
