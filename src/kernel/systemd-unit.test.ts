import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import type { LinuxResources } from '../spec/runtime.ts';
import { deviceProperties, expandSlice, limitProperties, rangeBits, systemdUnit } from './systemd-unit.ts';
import { annotatedProperties, parseVariant } from './unit-annotations.ts';

const named = (resources: LinuxResources, version = 252, v2 = true) =>
  Object.fromEntries(limitProperties(resources, version, v2).properties.map(({ name, value }) => [name, value]));

test('names of units and slices', () => {
  assert.deepEqual(systemdUnit('machine.slice:libpod:a1', 'x', 'system'), {
    name: 'libpod-a1.scope',
    slice: 'machine.slice',
    manager: 'system',
  });
  assert.equal(systemdUnit('a.slice:run-1.scope', 'x', 'system').name, 'run-1.scope');
  assert.equal(systemdUnit('a.slice:pre:b.slice', 'x', 'system').name, 'b.slice');
  assert.deepEqual(systemdUnit(undefined, 'x', 'user'), {
    name: 'keelson-x.scope',
    slice: 'user.slice',
    manager: 'user',
  });
  for (const path of ['/a/b', 'a:b:c:d', 'a.slice:p:', 'a.slice:p:b/c'])
    assert.throws(
      () => systemdUnit(path, 'x', 'system'),
      (e) => isKeelsonError(e, 'invalid-argument'),
    );
  assert.equal(expandSlice('a-b-c.slice'), '/a.slice/a-b.slice/a-b-c.slice');
  assert.equal(expandSlice('-.slice'), '/');
  for (const slice of ['a', 'a--b.slice', '-a.slice', '.slice', 'a/b.slice'])
    assert.throws(
      () => expandSlice(slice),
      (e) => isKeelsonError(e, 'invalid-argument'),
    );
});

test('limits are properties, and a quota is rounded in both places', () => {
  const resources = {
    memory: { limit: 1000, swap: 3000, reservation: 500 },
    cpu: { shares: 1024, quota: 5000, period: 90000, cpus: '0-2,8' },
    pids: { limit: 0 },
  };
  assert.deepEqual(named(resources), {
    MemoryMax: 1000n,
    MemoryLow: 500n,
    MemorySwapMax: 2000n,
    CPUWeight: 100n,
    CPUQuotaPeriodUSec: 90000n,
    CPUQuotaPerSecUSec: 60000n,
    TasksMax: 1n,
    AllowedCPUs: Uint8Array.of(7, 1),
  });
  assert.equal(limitProperties(resources, 252, true).resources.cpu?.quota, 5400);
  assert.equal(named({ memory: { limit: 5 } }, 252, false)['MemoryLimit'], 5n);
  assert.equal(named({ cpu: { quota: -1 } })['CPUQuotaPerSecUSec'], 2n ** 64n - 1n);
  assert.deepEqual(named({ cpu: { cpus: '0' } }, 240), {}, 'an older systemd has no word for processors');
});

test('files of version 2 are properties where there is one', () => {
  const unified = {
    'memory.high': '5',
    'memory.max': 'max',
    'cpu.max': '20000',
    'cpu.weight': '42',
    'misc.max': 'x 1',
  };
  assert.deepEqual(named({ unified }), {
    MemoryHigh: 5n,
    MemoryMax: 2n ** 64n - 1n,
    CPUQuotaPeriodUSec: 100000n,
    CPUQuotaPerSecUSec: 200000n,
    CPUWeight: 42n,
  });
  const idle = { unified: { 'cpu.idle': '1', 'cpu.weight': '8' } };
  assert.deepEqual(named(idle), { CPUWeight: 0n });
  assert.match(limitProperties(idle, 252, true).warnings.join(), /unable to apply both/);
});

test('lists of processors', () => {
  assert.deepEqual(rangeBits(' 0 , 9-10,'), Uint8Array.of(1, 6));
  for (const list of ['', ',', '3-1', 'a', '1-', '100000000'])
    assert.throws(
      () => rangeBits(list),
      (e) => isKeelsonError(e, 'invalid-argument'),
      list,
    );
});

test('device rules that systemd cannot say are not told it', () => {
  const deny = { allow: false, access: 'rwm' };
  const some = { allow: true, type: 'c' as const, major: 4, access: 'r' };
  const told = deviceProperties({ devices: [deny, some] }, true)[1]?.value as string[][];
  assert.ok(told.some(([path, access]) => path === 'char-4' && access === 'r'));
  assert.deepEqual(deviceProperties({ devices: [{ allow: true }] }, true), [], 'all devices');
  const hole = [deny, some, { ...some, allow: false, minor: 1 }];
  assert.deepEqual(deviceProperties({ devices: hole }, true), []);
  assert.equal(deviceProperties({ devices: hole }, false).length, 2, 'version 1 has no program beside it');
});

test('annotations are typed values', () => {
  assert.deepEqual(annotatedProperties({ 'org.systemd.property.TimeoutStopSec': '1.5', other: 'x' }), [
    { name: 'TimeoutStopUSec', type: 't', value: 1_500_000n },
  ]);
  for (const [text, type, value] of [
    ["'a b'", 's', 'a b'],
    ['"it\'s"', 's', "it's"],
    ['true', 'b', true],
    ['-5', 'i', -5],
    ['uint64 18446744073709551615', 't', 2n ** 64n - 1n],
    ["['a, b', 'c']", 'as', ['a, b', 'c']],
    ['@as []', 'as', []],
    ['1.5', 'd', 1.5],
  ] as const)
    assert.deepEqual(parseVariant(text), { type, value }, text);
  for (const text of ['', 'plain', '[1, true]', '[]', 'uint64 x', "uint64 'a'", "'open"])
    assert.equal(parseVariant(text), undefined, text);
  assert.throws(() => annotatedProperties({ 'org.systemd.property.a/b': '1' }), /not the name/);
  assert.throws(() => annotatedProperties({ 'org.systemd.property.RuntimeMaxSec': "'x'" }), /not a number of seconds/);
});
