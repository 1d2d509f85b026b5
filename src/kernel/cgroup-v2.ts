import { dirname, join } from 'node:path';
import { KeelsonError } from '../ground/errors.ts';
import type { Int64, LinuxResources } from '../spec/runtime.ts';
import { compileDevicePolicy } from './bpf-devices.ts';
import type {
  Cgroup,
  CgroupDirectory,
  CgroupDriver,
  CgroupFileValue,
  CgroupPlan,
  CgroupRequest,
  CgroupStats,
  CgroupWrite,
  DeviceIo,
  Freezer,
  ReadText,
} from './cgroup-driver.ts';
import { checkFree, checkLimits, limitOf, numberIn, parseFlat, perDevice, wanted } from './cgroup-values.ts';
import { devicePolicy } from './device-rules.ts';
import type { CgroupFacts } from './facts-cgroup.ts';

/** Version 2: one hierarchy, in which each group offers its controllers to its children (cgroup.subtree_control). */
export const cgroupV2: CgroupDriver = { locate, create, update, freezer, stats, oomFiles };

function locate(facts: CgroupFacts, path: string): Cgroup {
  if (!facts.v2) throw new KeelsonError('unsupported', 'cgroup v2 is not mounted here');
  return { version: 2, path, directories: { '': join(facts.v2.mountPoint, path) } };
}

const directoryOf = (cgroup: Cgroup): string => cgroup.directories[''] ?? '/nonexistent';

function create(facts: CgroupFacts, { cgroup, resources, skipDevices }: CgroupRequest, read: ReadText): CgroupPlan {
  checkLimits(resources);
  const leaf = directoryOf(cgroup);
  for (const key of Object.keys(resources.unified ?? {})) {
    if (key.indexOf('.') <= 0)
      throw new KeelsonError(
        'invalid-argument',
        `linux.resources.unified: the specified key has not the form CONTROLLER.VALUE \`${key}\``,
      );
  }
  const { writes, warnings } = limitWrites(resources);
  const needed = new Set(writes.map((write) => write.file.split('.')[0] ?? ''));
  const offered = facts.v2?.controllers ?? [];
  for (const controller of needed) {
    if (controller !== 'cgroup' && !offered.includes(controller)) {
      throw new KeelsonError(
        'unsupported',
        `limits need it: the requested cgroup controller \`${controller}\` is not available`,
      );
    }
  }
  checkFree(leaf, cgroup.path, read);

  // From the mount's top down: a controller is there for a child once the parent offers it.
  const directories: CgroupDirectory[] = [];
  let available = offered;
  for (const path of pathsBetween(facts.v2?.mountPoint ?? '/', dirname(leaf))) {
    available = words(read(join(path, 'cgroup.controllers')) ?? available.join(' '));
    const enabled = words(read(join(path, 'cgroup.subtree_control')));
    const missing = available.filter((controller) => !enabled.includes(controller));
    directories.push({
      path,
      leaf: false,
      // One by one: a controller that can't be had (realtime processes bar `cpu`) must not keep the others away.
      writes: missing.map(
        (controller): CgroupWrite => ({
          file: 'cgroup.subtree_control',
          value: `+${controller}`,
          whenMissing: needed.has(controller) ? 'fail' : 'ignore',
        }),
      ),
    });
  }
  directories.push({ path: leaf, writes, leaf: true });
  return {
    directories,
    cloneInto: leaf,
    warnings,
    ...(skipDevices ? {} : { deviceProgram: compileDevicePolicy(devicePolicy(resources.devices ?? [])) }),
  };
}

/** `top`, and every directory down to `bottom`, both included. */
function pathsBetween(top: string, bottom: string): readonly string[] {
  const found: string[] = [];
  for (let at = bottom; at !== top && at.length > top.length; at = dirname(at)) found.unshift(at);
  return [top, ...found];
}

function words(text: string | undefined): readonly string[] {
  return text?.split(/\s+/).filter((word) => word !== '') ?? [];
}

/**
 * Shares of version 1 (2 … 262144, by default 1024) as a weight (1 … 10000, by default 100): the curve through these three points that
 * runc and crun agreed on, 10^((l² + 125·l)/612 − 7/34) with l = log₂(shares).
 */
export function sharesToWeight(shares: Int64): number {
  const n = Number(shares);
  if (n <= 2) return 1;
  if (n >= 262144) return 10000;
  const l = Math.log2(n);
  return Math.ceil(10 ** ((l * l + 125 * l) / 612 - 7 / 34));
}

/** A block I/O weight of version 1 (10 … 1000) as io.weight (1 … 10000). */
export function blkioToIoWeight(weight: number): number {
  return 1 + Math.floor(((weight - 10) * 9999) / 990);
}

/**
 * memory.swap.max: version 1 counts memory and swap together. Undefined when there is nothing to set; 0 without a word about memory is no swap,
 * as crun has it.
 */
export function swapMax({ limit, swap }: { limit?: Int64; swap?: Int64 }): string | undefined {
  const [memory, sum] = [wanted(limit), wanted(swap)];
  if (sum === undefined) {
    if (limit === undefined && swap !== undefined) return '0';
    return memory !== undefined && memory < 0 ? 'max' : undefined;
  }
  if (sum < 0) return 'max';
  return String(memory === undefined || memory < 0 ? sum : BigInt(sum) - BigInt(memory));
}

function bytes(value: Int64 | undefined): string | undefined {
  const limit = wanted(value);
  return limit === undefined ? undefined : limit < 0 ? 'max' : String(limit);
}

function limitWrites(resources: LinuxResources): { writes: CgroupWrite[]; warnings: string[] } {
  const writes: CgroupWrite[] = [];
  const warnings: string[] = [];
  const add = (file: string, value: Int64 | string | undefined, whenMissing: CgroupWrite['whenMissing'] = 'fail') => {
    if (value !== undefined) writes.push({ file, value: String(value), whenMissing });
  };
  const { memory = {}, cpu = {}, pids, blockIO = {}, hugepageLimits = [], network = {}, rdma = {} } = resources;

  // A kernel without swap accounting has no such file; "no swap" and "any swap" then need no writing.
  const swap = swapMax(memory);
  add('memory.swap.max', swap, swap === '0' || swap === 'max' ? 'ignore' : 'warn');
  add('memory.max', bytes(memory.limit));
  add('memory.low', bytes(memory.reservation));
  if (memory.kernel !== undefined || memory.kernelTCP !== undefined) {
    warnings.push('limits of kernel memory are obsolete and were not set');
  }
  if (memory.disableOOMKiller) warnings.push('cgroup v2 cannot switch the out-of-memory killer off');
  if (memory.swappiness !== undefined) warnings.push('cgroup v2 has no memory swappiness for a group');

  add('cpu.idle', cpu.idle);
  const shares = wanted(cpu.shares);
  // A group that is idle has a weight of its own, and refuses another.
  if (shares !== undefined && cpu.idle !== 1) add('cpu.weight', sharesToWeight(shares));
  const [quota, period] = [wanted(cpu.quota), wanted(cpu.period)];
  if (quota !== undefined || period !== undefined) {
    add('cpu.max', `${quota !== undefined && quota > 0 ? quota : 'max'} ${period ?? 100000}`);
  }
  add('cpu.max.burst', cpu.burst, 'warn');
  if (wanted(cpu.realtimePeriod) !== undefined || wanted(cpu.realtimeRuntime) !== undefined) {
    warnings.push('cgroup v2 does not limit realtime scheduling');
  }
  add('cpuset.cpus', cpu.cpus);
  add('cpuset.mems', cpu.mems);
  add('pids.max', limitOf(pids?.limit));

  if (blockIO.weight) {
    // Which of the two is there depends on the I/O scheduler.
    add('io.bfq.weight', blockIO.weight, 'ignore');
    add('io.weight', blkioToIoWeight(blockIO.weight), 'ignore');
  }
  for (const d of blockIO.weightDevice ?? []) {
    if (!d.weight) continue;
    add('io.bfq.weight', perDevice(d, d.weight), 'ignore');
    add('io.weight', perDevice(d, blkioToIoWeight(d.weight)), 'ignore');
  }
  if (blockIO.leafWeight || blockIO.weightDevice?.some((d) => d.leafWeight)) {
    warnings.push('cgroup v2 has no leaf weights of block I/O');
  }
  const throttles = {
    rbps: blockIO.throttleReadBpsDevice,
    wbps: blockIO.throttleWriteBpsDevice,
    riops: blockIO.throttleReadIOPSDevice,
    wiops: blockIO.throttleWriteIOPSDevice,
  };
  for (const [key, devices] of Object.entries(throttles)) {
    for (const d of devices ?? []) add('io.max', `${d.major}:${d.minor} ${key}=${wanted(d.rate) ?? 'max'}`);
  }

  for (const { pageSize, limit } of hugepageLimits) {
    add(`hugetlb.${pageSize}.max`, limit);
    add(`hugetlb.${pageSize}.rsvd.max`, limit, 'ignore');
  }
  if (network.classID || network.priorities?.length) warnings.push('cgroup v2 does not tag network packets');
  for (const [name, { hcaHandles, hcaObjects }] of Object.entries(rdma)) {
    const handles = hcaHandles === undefined ? '' : ` hca_handle=${hcaHandles}`;
    add('rdma.max', `${name}${handles}${hcaObjects === undefined ? '' : ` hca_object=${hcaObjects}`}`);
  }
  // Last, so that they win over what was converted from version 1's words. Several lines are several settings.
  for (const [file, value] of Object.entries(resources.unified ?? {})) {
    for (const line of value.split('\n')) if (line !== '') add(file, line);
  }
  return { writes, warnings };
}

function update(cgroup: Cgroup, resources: LinuxResources, read: ReadText): readonly (CgroupFileValue & CgroupWrite)[] {
  checkLimits(resources);
  const directory = directoryOf(cgroup);
  const limit = wanted(resources.memory?.limit);
  const swap = wanted(resources.memory?.swap);
  if (resources.memory?.checkBeforeUpdate && limit !== undefined && limit > 0) {
    const usage = numberIn(read, join(directory, 'memory.current')) ?? 0;
    const swapped = numberIn(read, join(directory, 'memory.swap.current')) ?? 0;
    const reject = (what: string, to: Int64, used: number) =>
      new KeelsonError('conflict', `rejecting ${what} limit ${to}: it is below what the container uses now (${used})`);
    if (swap !== undefined && swap > 0 && usage + swapped > swap) throw reject('memory+swap', swap, usage + swapped);
    if (usage > limit) throw reject('memory', limit, usage);
  }
  return limitWrites(resources).writes.map((write) => ({ ...write, path: join(directory, write.file) }));
}

function freezer(cgroup: Cgroup): Freezer {
  const path = join(directoryOf(cgroup), 'cgroup.freeze');
  return {
    freeze: { path, value: '1' },
    thaw: { path, value: '0' },
    state: { path: join(directoryOf(cgroup), 'cgroup.events'), frozen: /^frozen 1$/m },
  };
}

function oomFiles(cgroup: Cgroup): readonly string[] {
  return [join(directoryOf(cgroup), 'memory.events')];
}

function stats(cgroup: Cgroup, read: ReadText): CgroupStats {
  const file = (name: string) => join(directoryOf(cgroup), name);
  const details = parseFlat(read(file('memory.stat')));
  const total = numberIn(read, file('memory.current')) ?? 0;
  const limit = numberIn(read, file('memory.max'));
  const cpu = parseFlat(read(file('cpu.stat')));
  const events = parseFlat(read(file('memory.events')));
  const pidsLimit = numberIn(read, file('pids.max'));
  const microseconds = (name: string) => (cpu[name] ?? 0) * 1000;
  return {
    memory: {
      usage: Math.max(0, total - (details['inactive_file'] ?? 0)),
      total,
      peak: numberIn(read, file('memory.peak')) ?? 0,
      ...(limit === undefined ? {} : { limit }),
      swap: numberIn(read, file('memory.swap.current')) ?? 0,
      failures: events['max'] ?? 0,
      details,
    },
    cpu: {
      total: microseconds('usage_usec'),
      user: microseconds('user_usec'),
      system: microseconds('system_usec'),
      perCpu: [],
      periods: cpu['nr_periods'] ?? 0,
      throttledPeriods: cpu['nr_throttled'] ?? 0,
      throttledTime: microseconds('throttled_usec'),
    },
    io: parseIoStat(read(file('io.stat')) ?? ''),
    pids: {
      current: numberIn(read, file('pids.current')) ?? 0,
      ...(pidsLimit === undefined ? {} : { limit: pidsLimit }),
    },
  };
}

/** Lines like `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`; a device without a value has its numbers alone. */
function parseIoStat(text: string): readonly DeviceIo[] {
  const devices: DeviceIo[] = [];
  for (const [, major, minor, rest = ''] of text.matchAll(/^(\d+):(\d+) (.*)$/gm)) {
    const value = (name: string) => Number(new RegExp(`\\b${name}=(\\d+)`).exec(rest)?.[1] ?? 0);
    devices.push({
      major: Number(major),
      minor: Number(minor),
      readBytes: value('rbytes'),
      writeBytes: value('wbytes'),
      reads: value('rios'),
      writes: value('wios'),
    });
  }
  return devices;
}
