import { dirname, join } from 'node:path';
import { KeelsonError } from '../ground/errors.ts';
import type { Int64, LinuxResources } from '../spec/runtime.ts';
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
import { checkExceptions, deviceLine, devicePolicy } from './device-rules.ts';
import type { CgroupFacts } from './facts-cgroup.ts';

/** Version 1: a hierarchy of directories for each controller, or for some together. */
export const cgroupV1: CgroupDriver = { locate, create, update, freezer, stats, oomFiles };

type Writes = Partial<Record<string, CgroupWrite[]>>;

function locate(facts: CgroupFacts, path: string): Cgroup {
  const directories: Record<string, string> = {};
  for (const mount of facts.v1) {
    for (const controller of mount.controllers) directories[controller] = join(mount.mountPoint, path);
  }
  // In a hybrid set-up a process is in a group of version 2 as well; clone3(2) and cgroup.kill work on that one.
  if (facts.v2) directories[''] = join(facts.v2.mountPoint, path);
  return { version: 1, path, directories };
}

function create(_facts: CgroupFacts, { cgroup, resources, skipDevices }: CgroupRequest, read: ReadText): CgroupPlan {
  checkLimits(resources);
  refuseUnified(resources);
  const { writes, warnings } = limitWrites(resources);
  if (!skipDevices) (writes['devices'] ??= []).push(...deviceWrites(resources));
  requireControllers(cgroup, writes);

  const directories: CgroupDirectory[] = [];
  for (const leaf of new Set(Object.values(cgroup.directories))) {
    const controllers = Object.keys(cgroup.directories).filter((name) => cgroup.directories[name] === leaf);
    const own = controllers.flatMap((name) => writes[name] ?? []);
    const parents = ancestors(leaf, cgroup.path);
    const cpuset = controllers.includes('cpuset') ? inheritedCpuset(parents[0] ?? leaf, parents, read) : undefined;
    for (const path of parents) directories.push({ path, writes: cpuset?.get(path) ?? [], leaf: false });
    directories.push({ path: leaf, writes: [...(cpuset?.get('') ?? []), ...own], leaf: true });
    if (controllers.includes('freezer') || controllers.includes('')) checkFree(leaf, cgroup.path, read);
  }
  const cloneInto = cgroup.directories[''];
  return { directories, warnings, ...(cloneInto === undefined ? {} : { cloneInto }) };
}

/** The directories above `leaf` that belong to the container's path, topmost first. */
function ancestors(leaf: string, path: string): readonly string[] {
  const found: string[] = [];
  let [directory, rest] = [dirname(leaf), dirname(path)];
  while (rest !== '/' && rest !== '.') {
    found.unshift(directory);
    [directory, rest] = [dirname(directory), dirname(rest)];
  }
  return found;
}

/**
 * A new cpuset is empty, and no process may enter it: every directory gets what the one above has. Parents that hold something
 * already keep it. `first` is the topmost of them all, which may be the leaf. Under '': what the leaf starts with.
 */
function inheritedCpuset(first: string, parents: readonly string[], read: ReadText): Map<string, CgroupWrite[]> {
  const result = new Map<string, CgroupWrite[]>();
  const top = dirname(first);
  const has = (directory: string) => ({
    cpus: read(join(directory, 'cpuset.cpus'))?.trim() ?? '',
    mems: read(join(directory, 'cpuset.mems'))?.trim() ?? '',
  });
  let above = has(top);
  const inherit = (): CgroupWrite[] => [
    { file: 'cpuset.cpus', value: above.cpus, whenMissing: 'fail' },
    { file: 'cpuset.mems', value: above.mems, whenMissing: 'fail' },
  ];
  for (const directory of parents) {
    const own = has(directory);
    if (own.cpus === '' || own.mems === '') result.set(directory, inherit());
    else above = own;
  }
  result.set('', inherit());
  return result;
}

function requireControllers(cgroup: Cgroup, writes: Writes): void {
  for (const [controller, list] of Object.entries(writes)) {
    if (controller in cgroup.directories || controller === 'devices') continue;
    if (list?.some((write) => write.whenMissing === 'fail')) {
      throw new KeelsonError(
        'unsupported',
        `limits need the cgroup controller ${controller}, which is not mounted here`,
      );
    }
  }
}

/** What `resources` comes to for a new group, by controller, in an order that starts from no limits. */
function limitWrites(resources: LinuxResources): { writes: Writes; warnings: string[] } {
  const writes: Writes = {};
  const warnings: string[] = [];
  const add = (
    controller: string,
    file: string,
    value: Int64 | string | undefined,
    whenMissing: CgroupWrite['whenMissing'] = 'fail',
  ) => {
    if (value === undefined) return;
    (writes[controller] ??= []).push({ file, value: String(value), whenMissing });
  };
  const { memory = {}, cpu = {}, pids, blockIO = {}, hugepageLimits = [], network = {}, rdma = {} } = resources;

  add('memory', 'memory.limit_in_bytes', wanted(memory.limit));
  // Without limit but with -1 for it, swap follows: unlimited memory means both.
  add('memory', 'memory.memsw.limit_in_bytes', wanted(memory.swap) ?? (memory.limit === -1 ? -1 : undefined), 'warn');
  add('memory', 'memory.soft_limit_in_bytes', wanted(memory.reservation));
  add('memory', 'memory.swappiness', memory.swappiness);
  if (memory.disableOOMKiller) add('memory', 'memory.oom_control', '1');
  if (memory.kernel !== undefined || memory.kernelTCP !== undefined) {
    warnings.push('limits of kernel memory are obsolete and were not set');
  }

  add('cpu', 'cpu.shares', wanted(cpu.shares));
  add('cpu', 'cpu.cfs_period_us', wanted(cpu.period));
  add('cpu', 'cpu.cfs_quota_us', wanted(cpu.quota));
  add('cpu', 'cpu.cfs_burst_us', cpu.burst, 'warn');
  add('cpu', 'cpu.idle', cpu.idle);
  add('cpu', 'cpu.rt_period_us', wanted(cpu.realtimePeriod));
  add('cpu', 'cpu.rt_runtime_us', wanted(cpu.realtimeRuntime));
  add('cpuset', 'cpuset.cpus', cpu.cpus);
  add('cpuset', 'cpuset.mems', cpu.mems);
  add('pids', 'pids.max', limitOf(pids?.limit));

  // The weight is in one file or the other, by I/O scheduler; kernels without either can't weigh.
  for (const prefix of ['blkio', 'blkio.bfq']) {
    add('blkio', `${prefix}.weight`, blockIO.weight || undefined, 'ignore');
    for (const d of blockIO.weightDevice ?? []) {
      if (d.weight) add('blkio', `${prefix}.weight_device`, perDevice(d, d.weight), 'ignore');
    }
  }
  add('blkio', 'blkio.leaf_weight', blockIO.leafWeight || undefined);
  for (const d of blockIO.weightDevice ?? []) {
    if (d.leafWeight) add('blkio', 'blkio.leaf_weight_device', perDevice(d, d.leafWeight));
  }
  for (const d of blockIO.throttleReadBpsDevice ?? [])
    add('blkio', 'blkio.throttle.read_bps_device', perDevice(d, d.rate));
  for (const d of blockIO.throttleWriteBpsDevice ?? [])
    add('blkio', 'blkio.throttle.write_bps_device', perDevice(d, d.rate));
  for (const d of blockIO.throttleReadIOPSDevice ?? [])
    add('blkio', 'blkio.throttle.read_iops_device', perDevice(d, d.rate));
  for (const d of blockIO.throttleWriteIOPSDevice ?? [])
    add('blkio', 'blkio.throttle.write_iops_device', perDevice(d, d.rate));

  for (const { pageSize, limit } of hugepageLimits) {
    add('hugetlb', `hugetlb.${pageSize}.limit_in_bytes`, limit);
    add('hugetlb', `hugetlb.${pageSize}.rsvd.limit_in_bytes`, limit, 'ignore');
  }
  add('net_cls', 'net_cls.classid', network.classID || undefined);
  for (const { name, priority } of network.priorities ?? [])
    add('net_prio', 'net_prio.ifpriomap', `${name} ${priority}`);
  for (const [name, limit] of Object.entries(rdma)) add('rdma', 'rdma.max', rdmaLine(name, limit));
  return { writes, warnings };
}

function rdmaLine(name: string, { hcaHandles, hcaObjects }: { hcaHandles?: number; hcaObjects?: number }): string {
  const handles = hcaHandles === undefined ? '' : ` hca_handle=${hcaHandles}`;
  return `${name}${handles}${hcaObjects === undefined ? '' : ` hca_object=${hcaObjects}`}`;
}

function deviceWrites(resources: LinuxResources): CgroupWrite[] {
  const policy = devicePolicy(resources.devices ?? []);
  checkExceptions(policy);
  const file = (allow: boolean) => (allow ? 'devices.allow' : 'devices.deny');
  return [
    { file: file(policy.allowOthers), value: 'a', whenMissing: 'fail' },
    ...policy.rules.map(
      (rule): CgroupWrite => ({ file: file(rule.allow), value: deviceLine(rule), whenMissing: 'fail' }),
    ),
  ];
}

function update(cgroup: Cgroup, resources: LinuxResources): readonly (CgroupFileValue & CgroupWrite)[] {
  checkLimits(resources);
  refuseUnified(resources);
  const { writes } = limitWrites(resources);
  requireControllers(cgroup, writes);
  return Object.entries(writes).flatMap(([controller, list]) =>
    (list ?? []).map((write) => ({ ...write, path: join(cgroup.directories[controller] ?? '/', write.file) })),
  );
}

function refuseUnified({ unified = {} }: LinuxResources): void {
  if (Object.keys(unified).length === 0) return;
  throw new KeelsonError(
    'unsupported',
    'invalid configuration: linux.resources.unified needs cgroup v2; this machine has v1',
  );
}

function freezer(cgroup: Cgroup): Freezer | undefined {
  const directory = cgroup.directories['freezer'];
  if (directory === undefined) return undefined;
  const path = join(directory, 'freezer.state');
  return {
    freeze: { path, value: 'FROZEN' },
    thaw: { path, value: 'THAWED' },
    state: { path, frozen: /^FROZEN/ },
  };
}

function oomFiles(cgroup: Cgroup): readonly string[] {
  const memory = cgroup.directories['memory'];
  return memory === undefined ? [] : [join(memory, 'memory.oom_control')];
}

function stats(cgroup: Cgroup, read: ReadText): CgroupStats {
  const from = (controller: string, file: string) => join(cgroup.directories[controller] ?? '/nonexistent', file);
  const number = (controller: string, file: string) => numberIn(read, from(controller, file));
  const details = parseFlat(read(from('memory', 'memory.stat')));
  const total = number('memory', 'memory.usage_in_bytes') ?? 0;
  const withSwap = number('memory', 'memory.memsw.usage_in_bytes');
  const limit = number('memory', 'memory.limit_in_bytes');
  const throttling = parseFlat(read(from('cpu', 'cpu.stat')));
  const perCpu = read(from('cpuacct', 'cpuacct.usage_percpu'))?.trim().split(/\s+/).map(Number) ?? [];
  const pidsLimit = number('pids', 'pids.max');
  return {
    memory: {
      usage: Math.max(0, total - (details['total_inactive_file'] ?? 0)),
      total,
      peak: number('memory', 'memory.max_usage_in_bytes') ?? 0,
      // No limit reads as the largest multiple of a page below 2^63.
      ...(limit === undefined || limit >= 2 ** 62 ? {} : { limit }),
      swap: withSwap === undefined ? 0 : Math.max(0, withSwap - total),
      failures: number('memory', 'memory.failcnt') ?? 0,
      details,
    },
    cpu: {
      total: number('cpuacct', 'cpuacct.usage') ?? 0,
      user: number('cpuacct', 'cpuacct.usage_user') ?? 0,
      system: number('cpuacct', 'cpuacct.usage_sys') ?? 0,
      perCpu,
      periods: throttling['nr_periods'] ?? 0,
      throttledPeriods: throttling['nr_throttled'] ?? 0,
      throttledTime: throttling['throttled_time'] ?? 0,
    },
    io: blkioStats(
      read(from('blkio', 'blkio.throttle.io_service_bytes_recursive')) ??
        read(from('blkio', 'blkio.throttle.io_service_bytes')),
      read(from('blkio', 'blkio.throttle.io_serviced_recursive')) ?? read(from('blkio', 'blkio.throttle.io_serviced')),
    ),
    pids: { current: number('pids', 'pids.current') ?? 0, ...(pidsLimit === undefined ? {} : { limit: pidsLimit }) },
  };
}

/** Lines like `8:0 Read 1282048`, closed by a total. */
function blkioStats(bytes: string | undefined, operations: string | undefined): readonly DeviceIo[] {
  const devices = new Map<string, { -readonly [K in keyof DeviceIo]: DeviceIo[K] }>();
  for (const [text, fields] of [
    [bytes, { Read: 'readBytes', Write: 'writeBytes' }],
    [operations, { Read: 'reads', Write: 'writes' }],
  ] as const) {
    for (const [, major, minor, kind, value] of (text ?? '').matchAll(/^(\d+):(\d+) (Read|Write) (\d+)$/gm)) {
      const name = `${major}:${minor}`;
      const device = devices.get(name) ?? {
        ...{ major: Number(major), minor: Number(minor) },
        ...{ readBytes: 0, writeBytes: 0, reads: 0, writes: 0 },
      };
      device[fields[kind as 'Read' | 'Write']] = Number(value);
      devices.set(name, device);
    }
  }
  return [...devices.values()];
}
