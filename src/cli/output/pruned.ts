import type { Cli } from '../cli.ts';
import { humanSize } from './units.ts';

export interface Pruned {
  readonly removed: readonly string[];
  readonly reclaimed: number;
}

/** What was removed, and how much that was. */
export function printPruned(cli: Cli, title: string, ...parts: readonly Pruned[]): void {
  const removed = parts.flatMap((part) => part.removed);
  if (removed.length > 0) cli.stdout.write(`${title}\n${removed.map((name) => `${name}\n`).join('')}\n`);
  printReclaimed(cli, ...parts);
}

export function printReclaimed(cli: Cli, ...parts: readonly Pruned[]): void {
  cli.stdout.line(`Total reclaimed space: ${humanSize(parts.reduce((sum, { reclaimed }) => sum + reclaimed, 0))}`);
}
