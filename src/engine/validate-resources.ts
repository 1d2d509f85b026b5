import { KeelsonError } from '../ground/errors.ts';
import { printable } from './names.ts';
import type { Resources } from './types.ts';

/** What this machine can give. */
export interface HostCapacity {
  readonly cpus: number;
  /** Ids of the processors that are online. */
  readonly onlineCpus: ReadonlySet<number>;
  readonly onlineNodes: ReadonlySet<number>;
  /** Whether the kernel can limit it; without, docker warns and drops the limit. */
  readonly memoryLimit: boolean;
  readonly swapLimit: boolean;
  readonly pidsLimit: boolean;
  readonly cpuLimit: boolean;
  readonly cpuset: boolean;
  readonly blkioWeight: boolean;
  /** cgroup v2 has neither swappiness nor a way to turn the OOM killer off. */
  readonly cgroupV2: boolean;
}

const MiB = 1024 * 1024;

/** Docker's checks and words; returns its warnings for limits that this kernel can't set. */
export function checkResources(r: Resources, host: HostCapacity): readonly string[] {
  const warnings: string[] = [];
  const lacks = (set: boolean, can: boolean, warning: string): void => {
    if (set && !can) warnings.push(warning);
  };
  checkNumbers(r);
  checkMemory(r);
  checkCpu(r, host);
  if (r.blkioWeight !== undefined && r.blkioWeight !== 0 && (r.blkioWeight < 10 || r.blkioWeight > 1000)) {
    throw invalid('Range of blkio weight is from 10 to 1000');
  }
  lacks(
    Boolean(r.memory),
    host.memoryLimit,
    'Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.',
  );
  lacks(
    Boolean(r.memory) && r.memorySwap !== -1 && host.memoryLimit,
    host.swapLimit,
    'Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.',
  );
  lacks(
    (r.memorySwappiness ?? -1) !== -1,
    !host.cgroupV2,
    'Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.',
  );
  lacks(
    r.oomKillDisable === true,
    !host.cgroupV2,
    'Your kernel does not support OomKillDisable. OomKillDisable discarded.',
  );
  if (r.oomKillDisable === true && !r.memory && !host.cgroupV2) {
    warnings.push(
      'OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.',
    );
  }
  lacks(
    (r.pidsLimit ?? 0) > 0,
    host.pidsLimit,
    'Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.',
  );
  lacks(
    Boolean(r.cpuQuota) || Boolean(r.nanoCpus) || Boolean(r.cpuPeriod),
    host.cpuLimit,
    'Your kernel does not support CPU cfs quota or the cgroup is not mounted. Quota discarded.',
  );
  lacks(
    Boolean(r.cpusetCpus) || Boolean(r.cpusetMems),
    host.cpuset,
    'Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.',
  );
  lacks(
    Boolean(r.blkioWeight),
    host.blkioWeight,
    'Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.',
  );
  return warnings;
}

/** The limits without those that this machine can't set, of which `checkResources` has warned. */
export function settableResources(r: Resources, host: HostCapacity): Resources {
  const can: Partial<Record<keyof Resources, boolean>> = {
    memory: host.memoryLimit,
    memorySwap: host.memoryLimit && host.swapLimit,
    memoryReservation: host.memoryLimit,
    memorySwappiness: host.memoryLimit && !host.cgroupV2,
    oomKillDisable: host.memoryLimit && !host.cgroupV2,
    nanoCpus: host.cpuLimit,
    cpuPeriod: host.cpuLimit,
    cpuQuota: host.cpuLimit,
    cpuShares: host.cpuLimit,
    cpusetCpus: host.cpuset,
    cpusetMems: host.cpuset,
    pidsLimit: host.pidsLimit,
    blkioWeight: host.blkioWeight,
  };
  return Object.fromEntries(Object.entries(r).filter(([name]) => can[name as keyof Resources] !== false));
}

function checkNumbers(r: Resources): void {
  for (const [name, value] of Object.entries(r)) {
    if (typeof value === 'number' && !Number.isSafeInteger(value)) throw invalid(`invalid value for ${name}: ${value}`);
  }
}

function checkMemory(r: Resources): void {
  const { memory = 0, memorySwap = 0, memoryReservation = 0, memorySwappiness = -1 } = r;
  if (memory < 0 || memoryReservation < 0 || memorySwap < -1) throw invalid('memory limits can not be negative');
  if (memory > 0 && memory < 6 * MiB) throw invalid('Minimum memory limit allowed is 6MB');
  if (memory > 0 && memorySwap > 0 && memorySwap < memory) {
    throw invalid('Minimum memoryswap limit should be larger than memory limit, see usage');
  }
  if (memory === 0 && memorySwap > 0) {
    throw invalid('You should always set the Memory limit when using Memoryswap limit, see usage');
  }
  if (memorySwappiness < -1 || memorySwappiness > 100) {
    throw invalid(`Invalid value: ${memorySwappiness}, valid memory swappiness range is 0-100`);
  }
  if (memoryReservation > 0 && memoryReservation < 6 * MiB) {
    throw invalid('Minimum memory reservation allowed is 6MB');
  }
  if (memory > 0 && memoryReservation > memory) {
    throw invalid('Minimum memory limit can not be less than memory reservation limit, see usage');
  }
}

function checkCpu(r: Resources, host: HostCapacity): void {
  const { nanoCpus = 0, cpuPeriod = 0, cpuQuota = 0, cpuShares = 0 } = r;
  if (nanoCpus !== 0 && cpuPeriod !== 0) {
    throw invalid('Conflicting options: Nano CPUs and CPU Period cannot both be set');
  }
  if (nanoCpus !== 0 && cpuQuota !== 0) {
    throw invalid('Conflicting options: Nano CPUs and CPU Quota cannot both be set');
  }
  if (nanoCpus < 0 || nanoCpus > host.cpus * 1e9) {
    throw invalid(`Range of CPUs is from 0.01 to ${host.cpus}.00, as there are only ${host.cpus} CPUs available`);
  }
  if (cpuShares < 0) throw invalid(`invalid CPU shares (${cpuShares}): value must be a positive integer`);
  if (cpuPeriod !== 0 && (cpuPeriod < 1000 || cpuPeriod > 1_000_000)) {
    throw invalid('CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)');
  }
  if (cpuQuota > 0 && cpuQuota < 1000) throw invalid('CPU cfs quota can not be less than 1ms (i.e. 1000)');
  checkCpuset('cpus', 'CPUs', r.cpusetCpus ?? '', host.onlineCpus);
  checkCpuset('mems', 'memory nodes', r.cpusetMems ?? '', host.onlineNodes);
}

function checkCpuset(word: string, what: string, list: string, available: ReadonlySet<number>): void {
  if (list === '') return;
  const wanted = parseCpuset(list);
  if (wanted === undefined) throw invalid(`Invalid value ${printable(list)} for cpuset ${word}`);
  if (wanted.some((n) => !available.has(n))) {
    throw invalid(
      `Requested ${what} are not available - requested ${list}, available: ${formatCpuset([...available])}`,
    );
  }
}

/** The kernel's list format (cpuset(7)): `0-2,5`; undefined when it isn't one. */
export function parseCpuset(list: string): number[] | undefined {
  if (!/^\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*$/.test(list)) return undefined;
  const all = new Set<number>();
  for (const range of list.split(',')) {
    const [first = 0, last = first] = range.split('-').map(Number);
    if (last < first || last > 8192) return undefined;
    for (let n = first; n <= last; n++) all.add(n);
  }
  return [...all];
}

function formatCpuset(ids: number[]): string {
  const sorted = ids.toSorted((a, b) => a - b);
  const ranges: string[] = [];
  for (let i = 0; i < sorted.length; ) {
    let end = i;
    while (sorted[end + 1] === (sorted[end] ?? 0) + 1) end++;
    ranges.push(end === i ? `${sorted[i]}` : `${sorted[i]}-${sorted[end]}`);
    i = end + 1;
  }
  return ranges.join(',');
}

function invalid(message: string): KeelsonError {
  return new KeelsonError('invalid-argument', message);
}
