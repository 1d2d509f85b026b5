/** A container's control group as a unit of systemd's: its name, its place, and its limits as properties (systemd.resource-control(5)). */
import { join } from 'node:path';
import { KeelsonError } from '../ground/errors.ts';
import type { Int64, LinuxResources } from '../spec/runtime.ts';
import { wanted } from './cgroup-values.ts';
import { sharesToWeight, swapMax } from './cgroup-v2.ts';
import type { DbusValue } from './dbus-wire.ts';
import { deviceAllowList } from './device-rules.ts';

/** Whose manager: that of the machine, or that of one user. */
export type SystemdManager = 'system' | 'user';

export interface SystemdUnit {
  /** `docker-4f53.scope`; a slice where the path says so. */
  readonly name: string;
  /** The slice that it is in: `machine.slice`. */
  readonly slice: string;
  readonly manager: SystemdManager;
}

/** Name and typed value, as StartTransientUnit and SetUnitProperties take them. */
export interface UnitProperty {
  readonly name: string;
  readonly type: string;
  readonly value: DbusValue;
}

const infinity = 2n ** 64n - 1n;

/**
 * `linux.cgroupsPath` is `slice:prefix:name`, or `slice:name` as crun takes it. Without it the container has a scope in system.slice,
 * for a user's own manager in user.slice.
 */
export function systemdUnit(cgroupsPath: string | undefined, id: string, manager: SystemdManager): SystemdUnit {
  const fallback = manager === 'user' ? 'user.slice' : 'system.slice';
  const parts = cgroupsPath ? cgroupsPath.split(':') : ['', 'keelson', id];
  const [slice = '', ...rest] = parts;
  const name = rest.at(-1) ?? '';
  if (parts.length < 2 || parts.length > 3 || name === '') {
    throw new KeelsonError(
      'invalid-argument',
      `linux.cgroupsPath: expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "${cgroupsPath}" instead`,
    );
  }
  if (/[/\0]/.test(rest.join('')) || name.length > 200)
    throw new KeelsonError('invalid-argument', `linux.cgroupsPath: ${cgroupsPath} does not name a unit of systemd's`);
  const own = rest.length === 1 || name.endsWith('.slice') ? name : rest.join('-');
  return { name: /\.(scope|slice)$/.test(own) ? own : `${own}.scope`, slice: slice || fallback, manager };
}

/** Slices nest by the dashes in their names: `a-b.slice` is /a.slice/a-b.slice. */
export function expandSlice(slice: string): string {
  const name = /^([^/]+)\.slice$/.exec(slice)?.[1];
  const words = name?.split('-') ?? [''];
  if (name === '-') return '/';
  if (words.includes('')) throw new KeelsonError('invalid-argument', `linux.cgroupsPath: invalid slice name: ${slice}`);
  return join('/', ...words.map((_, i) => `${words.slice(0, i + 1).join('-')}.slice`));
}

/** What a new unit gets besides its limits: a first process, and control over what is below it. */
export function startProperties(unit: SystemdUnit, id: string, pid: number, v2: boolean): readonly UnitProperty[] {
  const on = (name: string): UnitProperty => ({ name, type: 'b', value: true });
  const io = v2 ? 'IOAccounting' : 'BlockIOAccounting';
  return [
    { name: 'Description', type: 's', value: `Keelson container ${id}` },
    ...(unit.name.endsWith('.slice')
      ? [{ name: 'Wants', type: 'as', value: [unit.slice] }]
      : [{ name: 'Slice', type: 's', value: unit.slice }, on('Delegate')]),
    { name: 'PIDs', type: 'au', value: [pid] },
    ...['MemoryAccounting', 'CPUAccounting', io, 'TasksAccounting'].map(on),
    { name: 'DefaultDependencies', type: 'b', value: false },
  ];
}

export interface Limits {
  readonly properties: readonly UnitProperty[];
  /** What goes to the group's files afterwards: a quota is rounded as systemd rounds it, so that both say the same. */
  readonly resources: LinuxResources;
  readonly warnings: readonly string[];
}

/** `version`: of systemd. Limits that it has no word for are set in the group's files alone. */
export function limitProperties(given: LinuxResources, version: number, v2: boolean): Limits {
  const properties: UnitProperty[] = [];
  const warnings: string[] = [];
  const add = (name: string, value: Int64 | undefined) => {
    if (value !== undefined) properties.push({ name, type: 't', value: value < 0 ? infinity : BigInt(value) });
  };
  const resources = withRoundedQuota(given);
  const { memory = {}, cpu = {}, pids, blockIO = {}, unified = {} } = resources;
  // systemd knows an idle group as one of weight 0 (version 252).
  const canIdle = v2 && version >= 252;
  const [idle, unifiedIdle] = [canIdle && cpu.idle === 1, canIdle && unified['cpu.idle']?.trim() === '1'];
  const shares = wanted(cpu.shares);
  if ((idle && shares !== undefined) || (unifiedIdle && unified['cpu.weight'] !== undefined))
    warnings.push('unable to apply both the weight and idle of cpu to systemd, ignoring the weight');
  if (v2) {
    add('MemoryMax', wanted(memory.limit));
    add('MemoryLow', wanted(memory.reservation));
    const swap = swapMax(memory);
    add('MemorySwapMax', swap === undefined ? undefined : swap === 'max' ? -1 : BigInt(swap));
    if (idle) add('CPUWeight', 0);
    else if (shares !== undefined) add('CPUWeight', sharesToWeight(shares));
  } else {
    add('MemoryLimit', wanted(memory.limit));
    add('CPUShares', shares);
    if (blockIO.weight) add('BlockIOWeight', blockIO.weight);
  }
  addQuota(add, wanted(cpu.quota), wanted(cpu.period), version);
  if (pids?.limit !== undefined) add('TasksMax', pids.limit === 0 ? 1 : pids.limit);
  if (version >= 244) {
    for (const [name, list] of [
      ['AllowedCPUs', cpu.cpus ?? unified['cpuset.cpus']],
      ['AllowedMemoryNodes', cpu.mems ?? unified['cpuset.mems']],
    ] as const)
      if (list) properties.push({ name, type: 'ay', value: rangeBits(list) });
  }
  if (v2) addUnified(add, unified, unifiedIdle, version);
  return { properties, resources, warnings };
}

type Add = (name: string, value: Int64 | undefined) => void;

function addQuota(add: Add, quota: Int64 | undefined, period: Int64 | undefined, version: number): void {
  if (quota === undefined && period === undefined) return;
  if (period !== undefined && version >= 242) add('CPUQuotaPeriodUSec', period);
  add('CPUQuotaPerSecUSec', quota === undefined || quota < 0 ? -1 : perSecond(quota, period ?? 100_000));
}

/** Microseconds of a second, in whole percents. */
function perSecond(quota: Int64, period: Int64): bigint {
  const exact = (BigInt(quota) * 1_000_000n) / BigInt(period);
  return ((exact + 9_999n) / 10_000n) * 10_000n;
}

function withRoundedQuota(resources: LinuxResources): LinuxResources {
  const { cpu = {} } = resources;
  const [quota, period] = [wanted(cpu.quota), wanted(cpu.period) ?? 100_000];
  if (quota === undefined || quota < 0) return resources;
  const rounded = (perSecond(quota, period) * BigInt(period)) / 1_000_000n;
  return { ...resources, cpu: { ...cpu, quota: Number(rounded) } };
}

const unifiedNames: Readonly<Record<string, string>> = {
  'memory.min': 'MemoryMin',
  'memory.low': 'MemoryLow',
  'memory.high': 'MemoryHigh',
  'memory.max': 'MemoryMax',
  'memory.swap.max': 'MemorySwapMax',
  'pids.max': 'TasksMax',
};

function addUnified(add: Add, unified: Readonly<Record<string, string>>, idle: boolean, version: number): void {
  for (const [file, text] of Object.entries(unified)) {
    const words = text.trim().split(/\s+/);
    const numbers = words.map((word) => (/^\d+$/.test(word) ? BigInt(word) : -1n));
    const name = unifiedNames[file];
    if (name !== undefined) add(name, name === 'TasksMax' && numbers[0] === 0n ? 1 : numbers[0]);
    else if (file === 'cpu.weight' && !idle) add('CPUWeight', numbers[0]);
    else if (file === 'cpu.idle' && idle) add('CPUWeight', 0);
    else if (file === 'cpu.max') addQuota(add, numbers[0], numbers[1] ?? 100_000, version);
  }
}

/** `0-2,5` as a bit for each number, the lowest in the first byte. */
export function rangeBits(list: string): Uint8Array {
  const bytes: number[] = [];
  for (const range of list.split(',').map((part) => part.trim())) {
    if (range === '') continue;
    const [, from, to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(range) ?? [];
    if (from === undefined || Number(from) > Number(to))
      throw new KeelsonError('invalid-argument', `"${list}" is not a list of processors or memory nodes`);
    for (let i = Number(from); i <= Number(to); i++) bytes[i >> 3] = (bytes[i >> 3] ?? 0) | (1 << (i & 7));
  }
  if (bytes.length === 0) throw new KeelsonError('invalid-argument', 'an empty list of processors or memory nodes');
  return Uint8Array.from(bytes, (byte) => byte ?? 0);
}

/**
 * Device rules in systemd's words, where it has them: a list of what is allowed. On version 2 what it can't say is left to our own
 * program alone, since both would have to agree; on version 1, where systemd may write its own view again at any time, that is the stricter one.
 */
export function deviceProperties(resources: LinuxResources, v2: boolean): readonly UnitProperty[] {
  const { allowed, exact } = deviceAllowList(resources.devices ?? []);
  if (!allowed || (v2 && !exact)) return [];
  return [
    { name: 'DevicePolicy', type: 's', value: 'strict' },
    { name: 'DeviceAllow', type: 'a(ss)', value: allowed },
  ];
}
