/** The document of `events --stats`, in runc's shape. */
import { join } from 'node:path';
import type { Cgroup, CgroupStats, DeviceIo, ReadText } from '../../kernel/cgroup-driver.ts';

export function statsDocument(cgroup: Cgroup, stats: CgroupStats, read: ReadText): Record<string, unknown> {
  const { cpu, memory, pids, io } = stats;
  const entries = (reads: (d: DeviceIo) => number, writes: (d: DeviceIo) => number) =>
    io.flatMap(({ major, minor, ...device }) => {
      const one = { ...device, major, minor };
      return [
        { major, minor, op: 'Read', value: reads(one) },
        { major, minor, op: 'Write', value: writes(one) },
      ];
    });
  return {
    cpu: {
      usage: { total: cpu.total, percpu: cpu.perCpu, kernel: cpu.system, user: cpu.user },
      throttling: {
        periods: cpu.periods,
        throttledPeriods: cpu.throttledPeriods,
        throttledTime: cpu.throttledTime,
      },
    },
    cpuset: cpuset(cgroup, read),
    memory: {
      cache: memory.details['cache'] ?? memory.details['file'] ?? 0,
      usage: {
        limit: memory.limit ?? 18446744073709552000,
        usage: memory.total,
        max: memory.peak,
        failcnt: memory.failures,
      },
      swap: { limit: 0, usage: memory.total + memory.swap, failcnt: 0 },
      kernel: { limit: 0, failcnt: 0 },
      kernelTCP: { limit: 0, failcnt: 0 },
      raw: memory.details,
    },
    pids: { current: pids.current, ...(pids.limit !== undefined && { limit: pids.limit }) },
    blkio: {
      ioServiceBytesRecursive: entries(
        (d) => d.readBytes,
        (d) => d.writeBytes,
      ),
      ioServicedRecursive: entries(
        (d) => d.reads,
        (d) => d.writes,
      ),
    },
    hugetlb: {},
    intel_rdt: {},
    network_interfaces: null,
  };
}

function cpuset(cgroup: Cgroup, read: ReadText): Record<string, unknown> {
  const directory = cgroup.directories['cpuset'] ?? cgroup.directories[''];
  const list = (file: string): number[] =>
    (directory === undefined ? '' : (read(join(directory, file)) ?? ''))
      .trim()
      .split(',')
      .filter(Boolean)
      .flatMap((range) => {
        const [from = 0, to = from] = range.split('-').map(Number);
        return Array.from({ length: to - from + 1 }, (_, i) => from + i);
      });
  return { cpus: list('cpuset.cpus'), mems: list('cpuset.mems') };
}
