/** The document of `events --stats`, in runc's shape: what is nothing is left out where its encoder leaves it out. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Cgroup, CgroupStats, DeviceIo, ReadText } from '../../kernel/cgroup-driver.ts';
import { parseFlat } from '../../kernel/cgroup-values.ts';

type Document = Record<string, unknown>;

export function statsDocument(cgroup: Cgroup, stats: CgroupStats, read: ReadText): Document {
  const text = (controller: string, file: string): string | undefined => {
    const directory = cgroup.directories[controller] ?? cgroup.directories[''];
    return directory === undefined ? undefined : read(join(directory, file));
  };
  const { cpu, pids } = stats;
  const v2 = cgroup.version === 2;
  const psi = (file: string): Document => (v2 ? pressure(text('', `${file}.pressure`)) : {});
  return {
    cpu: {
      usage: {
        ...some({ total: cpu.total, percpu: cpu.perCpu, ...perCpuUsage(text('cpuacct', 'cpuacct.usage_all')) }),
        kernel: cpu.system,
        user: cpu.user,
      },
      throttling: some({
        periods: cpu.periods,
        throttledPeriods: cpu.throttledPeriods,
        throttledTime: cpu.throttledTime,
      }),
      ...psi('cpu'),
    },
    cpuset: cpuset((file) => text('cpuset', file)),
    memory: { ...(v2 ? memoryV2(stats, text) : memoryV1(stats, text)), ...psi('memory') },
    pids: some({ current: pids.current, limit: pids.limit }),
    blkio: { ...blkio(stats.io), ...psi('io') },
    hugetlb: hugetlb(v2, text),
    intel_rdt: {},
    network_interfaces: null,
  };
}

/** Without fields that are 0, empty or not there. */
function some(fields: Document): Document {
  const empty = (value: unknown) =>
    value === undefined || value === 0 || (Array.isArray(value) && value.length === 0) || value === '';
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => !empty(value)));
}

type Text = (controller: string, file: string) => string | undefined;

/** What a limit that is none reads as, the largest number of 64 bits, which is no JavaScript number. */
const noLimit = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(String(2n ** 64n - 1n));

function entry(limit: unknown, usage = 0, max = 0, failcnt = 0): Document {
  return { limit, ...some({ usage, max }), failcnt };
}

function memoryV1({ memory }: CgroupStats, text: Text): Document {
  const of = (prefix: string): Document => {
    const number = (file: string) => Number(text('memory', `memory.${prefix}${file}`)?.trim() ?? 0);
    return entry(number('limit_in_bytes'), number('usage_in_bytes'), number('max_usage_in_bytes'), number('failcnt'));
  };
  return {
    ...some({ cache: memory.details['cache'] }),
    usage: of(''),
    swap: of('memsw.'),
    kernel: of('kmem.'),
    kernelTCP: of('kmem.tcp.'),
    raw: memory.details,
  };
}

function memoryV2({ memory }: CgroupStats, text: Text): Document {
  const swapMax = text('', 'memory.swap.max')?.trim();
  const limit = memory.limit ?? noLimit;
  const both = memory.limit === undefined || swapMax === 'max' ? noLimit : memory.limit + Number(swapMax ?? 0);
  return {
    ...some({ cache: memory.details['file'] }),
    usage: entry(limit, memory.total, memory.peak, memory.failures),
    swap: entry(both, memory.total + memory.swap),
    kernel: entry(0),
    kernelTCP: entry(0),
    raw: memory.details,
  };
}

/** `cpu user system`, a line each. */
function perCpuUsage(text: string | undefined): Document {
  const rows = [...(text ?? '').matchAll(/^\d+ (\d+) (\d+)$/gm)];
  return {
    percpu_kernel: rows.map(([, , system]) => Number(system)),
    percpu_user: rows.map(([, user]) => Number(user)),
  };
}

/** `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same of `full`. */
function pressure(text: string | undefined): Document {
  const kinds = [...(text ?? '').matchAll(/^(some|full) (.*)$/gm)].map(([, kind, fields = '']) => [
    kind,
    Object.fromEntries(
      fields.split(' ').map((field) => {
        const [name = '', value] = field.split('=');
        return [name, Number(value)];
      }),
    ),
  ]);
  return kinds.length === 0 ? {} : { psi: Object.fromEntries(kinds) as Document };
}

function cpuset(text: (file: string) => string | undefined): Document {
  const list = (file: string): number[] =>
    (text(file) ?? '')
      .trim()
      .split(',')
      .filter(Boolean)
      .flatMap((range) => {
        const [from = 0, to = from] = range.split('-').map(Number);
        return Array.from({ length: to - from + 1 }, (_, i) => from + i);
      });
  const number = (file: string) => Number(text(file)?.trim() ?? 0);
  return {
    ...some({ cpus: list('cpuset.cpus'), mems: list('cpuset.mems') }),
    cpu_exclusive: number('cpuset.cpu_exclusive'),
    mem_hardwall: number('cpuset.mem_hardwall'),
    mem_exclusive: number('cpuset.mem_exclusive'),
    memory_migrate: number('cpuset.memory_migrate'),
    memory_spread_page: number('cpuset.memory_spread_page'),
    memory_spread_slab: number('cpuset.memory_spread_slab'),
    memory_pressure: number('cpuset.memory_pressure'),
    sched_load_balance: number('cpuset.sched_load_balance'),
    sched_relax_domain_level: number('cpuset.sched_relax_domain_level'),
  };
}

function blkio(io: readonly DeviceIo[]): Document {
  const entries = (reads: 'readBytes' | 'reads', writes: 'writeBytes' | 'writes') =>
    io.flatMap(({ major, minor, ...device }) => [
      some({ major, minor, op: 'Read', value: device[reads] }),
      some({ major, minor, op: 'Write', value: device[writes] }),
    ]);
  return some({
    ioServiceBytesRecursive: entries('readBytes', 'writeBytes'),
    ioServicedRecursive: entries('reads', 'writes'),
  });
}

function hugetlb(v2: boolean, text: Text): Document {
  const number = (file: string) => Number(text('hugetlb', file)?.trim() ?? 0);
  const sizes = pageSizes().filter((size) => text('hugetlb', `hugetlb.${size}.${v2 ? 'current' : 'usage_in_bytes'}`));
  return Object.fromEntries(
    sizes.map((size) => {
      const file = (name: string) => `hugetlb.${size}.${name}`;
      if (v2) {
        const failcnt = parseFlat(text('hugetlb', file('events')))['max'] ?? 0;
        return [size, { ...some({ usage: number(file('current')) }), failcnt }];
      }
      const [usage, max] = [number(file('usage_in_bytes')), number(file('max_usage_in_bytes'))];
      return [size, { ...some({ usage, max }), failcnt: number(file('failcnt')) }];
    }),
  );
}

/** As control groups name them: `2MB`. */
function pageSizes(): readonly string[] {
  try {
    return readdirSync('/sys/kernel/mm/hugepages').map((name) => {
      let [size, unit] = [Number(/\d+/.exec(name)?.[0]), 0];
      for (; size >= 1024; size /= 1024) unit++;
      return `${size}${['KB', 'MB', 'GB'][unit]}`;
    });
  } catch {
    return [];
  }
}
