import { KeelsonError } from '../../../ground/errors.ts';
import type { Command } from '../session.ts';
import { stateDocument } from './state.ts';

export const list: Command = {
  flags: { format: { kind: 'text', short: ['f'] }, quiet: { kind: 'bool', short: ['q'] } },
  async run({ call, globals, host }, args) {
    const format = args.text('format') ?? 'table';
    if (format !== 'table' && format !== 'json') throw new KeelsonError('invalid-argument', 'invalid format option');
    const found = host.store.all({ mayBeMissing: globals.text('root') === undefined });
    if (args.bool('quiet')) {
      call.stdout(found.map(({ state }) => `${state.id}\n`).join(''));
      return 0;
    }
    const rows = found.map((one) => ({ ...stateDocument(one), owner: one.state.keelson.owner }));
    call.stdout(format === 'json' ? `${JSON.stringify(rows)}\n` : table(rows));
    return 0;
  },
};

function table(rows: readonly Record<string, unknown>[]): string {
  const cells = [
    ['ID', 'PID', 'STATUS', 'BUNDLE', 'CREATED', 'OWNER'],
    ...rows.map((row) => ['id', 'pid', 'status', 'bundle', 'created', 'owner'].map((key) => String(row[key]))),
  ];
  const widths = cells[0]?.map((_, i) => Math.max(...cells.map((row) => row[i]?.length ?? 0)) + 3) ?? [];
  return cells
    .map(
      (row) =>
        `${row.map((cell, i) => (i < row.length - 1 ? cell.padEnd(Math.max(12, widths[i] ?? 0)) : cell)).join('')}\n`,
    )
    .join('');
}
