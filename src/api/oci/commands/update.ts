import { readFileSync } from 'node:fs';
import { fromSystemError, KeelsonError } from '../../../ground/errors.ts';
import { PlanBuilder } from '../../../kernel/plan-builder.ts';
import { updateContainer } from '../../../runtime/lifecycle/update.ts';
import { validateResources } from '../../../spec/config.ts';
import type { LinuxResources } from '../../../spec/runtime.ts';
import { parseExact } from '../../../spec/shape.ts';
import type { Parsed } from '../flags.ts';
import type { Command, Session } from '../session.ts';
import { containerId } from './create.ts';

const units: Readonly<Record<string, number>> = { '': 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };
const text = { kind: 'text' } as const;

export const update: Command = {
  flags: {
    resources: { kind: 'text', short: ['r'] },
    ...Object.fromEntries(
      [
        ...[
          'blkio-weight',
          'cpu-period',
          'cpu-quota',
          'cpu-burst',
          'cpu-share',
          'cpu-rt-period',
          'cpu-rt-runtime',
          'cpu-idle',
        ],
        ...['cpuset-cpus', 'cpuset-mems', 'kernel-memory', 'kernel-memory-tcp', 'memory', 'memory-reservation'],
        ...['memory-swap', 'pids-limit', 'l3-cache-schema', 'mem-bw-schema'],
      ].map((name) => [name, text] as const),
    ),
  },
  async run(session, args) {
    const { host, path } = session;
    const found = host.store.find(containerId(args));
    const file = args.text('resources');
    let resources: LinuxResources;
    if (file !== undefined) {
      let json: string;
      try {
        json = file === '-' ? await readStandardInput(session) : readFileSync(path(file), 'utf8');
      } catch (error) {
        throw fromSystemError(error, `reading ${file}`);
      }
      resources = validateResources(parseExact(json, file));
    } else resources = fromFlags(args);
    updateContainer(host, found, resources);
    return 0;
  },
};

function fromFlags(args: Parsed): LinuxResources {
  const number = (name: string) => args.number(name);
  const bytes = (name: string): number | undefined => {
    const value = args.text(name);
    if (value === undefined) return undefined;
    const match = /^(-1|\d+(?:\.\d+)?) *([kmgt]?)i?b?$/i.exec(value.trim());
    if (!match) throw new KeelsonError('invalid-argument', `invalid value for ${name}: ${value}`);
    return match[1] === '-1' ? -1 : Math.floor(Number(match[1]) * (units[(match[2] ?? '').toLowerCase()] ?? 1));
  };
  const given = <T extends object>(fields: T): Partial<T> =>
    Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
  return validateResources({
    memory: given({ limit: bytes('memory'), reservation: bytes('memory-reservation'), swap: bytes('memory-swap') }),
    cpu: given({
      shares: number('cpu-share'),
      quota: number('cpu-quota'),
      period: number('cpu-period'),
      burst: number('cpu-burst'),
      realtimePeriod: number('cpu-rt-period'),
      realtimeRuntime: number('cpu-rt-runtime'),
      idle: number('cpu-idle'),
      cpus: args.text('cpuset-cpus'),
      mems: args.text('cpuset-mems'),
    }),
    ...(number('pids-limit') !== undefined && { pids: { limit: number('pids-limit') } }),
    ...(number('blkio-weight') !== undefined && { blockIO: { weight: number('blkio-weight') } }),
  });
}

/** The caller's: read by itself, a piece at a time. */
async function readStandardInput({ host }: Session): Promise<string> {
  const size = 1 << 16;
  const parts: Buffer[] = [];
  for (let count = -1; count !== 0; ) {
    const b = new PlanBuilder(host.facts.arch);
    const buffer = b.doing('reading standard input').blob(size);
    const got = b.sys('read', [0, buffer, size]);
    b.report(1, [], [buffer]);
    let bytes = Buffer.alloc(0);
    const { registers } = await host.runner.run(b.build(), {
      onReport: ({ blobs }) => {
        bytes = Buffer.from(blobs[0] ?? []);
      },
    });
    count = Number(registers[got.reg]);
    parts.push(bytes.subarray(0, count));
    if (parts.length > 256) throw new KeelsonError('invalid-argument', 'standard input is larger than 16 MiB');
  }
  return Buffer.concat(parts).toString('utf8');
}
