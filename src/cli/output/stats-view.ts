import type { Stats } from '../../engine/types.ts';
import { View } from '../template/values.ts';
import { shortId } from './container-view.ts';
import { binarySize, humanSize } from './units.ts';

export const statsTable =
  'table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}';

export const statsHeaders: Readonly<Record<string, string>> = {
  Container: 'CONTAINER',
  Name: 'NAME',
  ID: 'CONTAINER ID',
  CPUPerc: 'CPU %',
  MemUsage: 'MEM USAGE / LIMIT',
  MemPerc: 'MEM %',
  NetIO: 'NET I/O',
  BlockIO: 'BLOCK I/O',
  PIDs: 'PIDS',
};

/** One container's row: two samples, the second undefined until there is one. */
export interface StatsRow {
  readonly id: string;
  readonly name: string;
  readonly before: Stats | undefined;
  readonly now: Stats | undefined;
}

/** Per cent of one CPU between two samples, as docker computes it. */
function cpuPercent({ before, now }: StatsRow): number {
  if (before === undefined || now === undefined) return 0;
  const used = now.cpuTotal - before.cpuTotal;
  const available = now.cpuSystem - before.cpuSystem;
  return used > 0 && available > 0 ? (used / available) * now.onlineCpus * 100 : 0;
}

/** A container's usage as `stats --format` sees it. */
export function statsView(row: StatsRow, truncate: boolean): View {
  const { now } = row;
  const id = truncate ? shortId(row.id) : row.id;
  const percent = (value: number): string => (now === undefined ? '--' : `${value.toFixed(2)}%`);
  const pair = (a: string, b: string): string => (now === undefined ? '-- / --' : `${a} / ${b}`);
  const memory = now?.memoryUsage ?? 0;
  const limit = now?.memoryLimit ?? 0;
  return new View('*formatter.statsContext', {
    BlockIO: () => pair(humanSize(now?.blockRead ?? 0, 3), humanSize(now?.blockWrite ?? 0, 3)),
    CPUPerc: () => percent(cpuPercent(row)),
    Container: () => id,
    ID: () => id,
    MemPerc: () => percent(limit === 0 ? 0 : (memory / limit) * 100),
    MemUsage: () => pair(binarySize(memory), binarySize(limit)),
    Name: () => row.name,
    NetIO: () => pair(humanSize(now?.networkRx ?? 0, 3), humanSize(now?.networkTx ?? 0, 3)),
    PIDs: () => (now === undefined ? '--' : String(now.pids)),
  });
}
