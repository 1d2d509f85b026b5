import { KeelsonError } from '../../../ground/errors.ts';
import { updateContainer } from '../../../runtime/lifecycle/update.ts';
import { validateResources } from '../../../spec/config.ts';
import type { LinuxResources } from '../../../spec/runtime.ts';
import { parseExact } from '../../../spec/shape.ts';
import type { Parsed } from '../flags.ts';
import { readInput } from '../read-input.ts';
import type { Command } from '../session.ts';
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
    const { host } = session;
    const found = host.store.find(containerId(args));
    const file = args.text('resources');
    let resources: LinuxResources;
    if (file !== undefined) {
      resources = validateResources(parseExact(await readInput(session, file), file));
    } else resources = fromFlags(args);
    if (resources.memory?.kernel !== undefined || resources.memory?.kernelTCP !== undefined)
      host.warn('Kernel memory settings are ignored and will be removed');
    await updateContainer(host, found, resources);
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
    memory: given({
      limit: bytes('memory'),
      reservation: bytes('memory-reservation'),
      swap: bytes('memory-swap'),
      kernel: bytes('kernel-memory'),
      kernelTCP: bytes('kernel-memory-tcp'),
    }),
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
