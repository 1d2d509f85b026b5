export interface Row {
  readonly what: string;
  /** Seconds, or megabytes: see `unit`. */
  readonly ours: number;
  /** Whom it is compared with, and their figure; absent for a budget in absolute terms. */
  readonly peer?: { readonly name: string; readonly value: number };
  readonly unit: 's' | 'MB';
  /** The most that ours may be: a multiple of the peer's, or an absolute value; absent where there is no budget. */
  readonly budget?: { readonly ratio: number } | { readonly at: number };
}

const columns = ['what', 'ours', 'peer', 'ratio', 'budget', 'met'] as const;

export function met(row: Row): boolean | undefined {
  if (row.budget === undefined) return undefined;
  if ('at' in row.budget) return row.ours <= row.budget.at;
  return row.peer === undefined ? undefined : row.ours <= row.budget.ratio * row.peer.value;
}

function cells(row: Row): string[] {
  const ratio = row.peer === undefined ? '' : (row.ours / row.peer.value).toPrecision(2);
  const budget =
    row.budget === undefined
      ? ''
      : 'at' in row.budget
        ? `≤ ${amount(row.budget.at, row.unit)}`
        : `≤ ${row.budget.ratio} ×`;
  const answer = met(row);
  return [
    row.what,
    amount(row.ours, row.unit),
    row.peer === undefined ? '' : `${row.peer.name} ${amount(row.peer.value, row.unit)}`,
    ratio,
    budget,
    answer === undefined ? '' : answer ? 'yes' : 'NO',
  ];
}

function amount(value: number, unit: Row['unit']): string {
  if (unit === 'MB') return `${value.toFixed(2)} MB`;
  return value < 1 ? `${(value * 1000).toPrecision(3)} ms` : `${value.toPrecision(3)} s`;
}

/** For a terminal. */
export function plainTable(rows: readonly Row[]): string {
  const lines = [[...columns], ...rows.map(cells)];
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export function markdownTable(rows: readonly Row[]): string {
  const line = (parts: readonly string[]): string => `| ${parts.join(' | ')} |`;
  return [line(columns), line(columns.map(() => '---')), ...rows.map((row) => line(cells(row)))].join('\n');
}
