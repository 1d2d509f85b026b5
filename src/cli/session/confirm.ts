import { createInterface } from 'node:readline/promises';
import type { Cli } from '../cli.ts';

/** Asks on standard error whether to go on; everything but y and yes is a no. */
export async function confirm(cli: Cli, warning: string): Promise<boolean> {
  cli.stderr.write(`${warning}\nAre you sure you want to continue? [y/N] `);
  const lines = createInterface({ input: process.stdin });
  try {
    const answer = await Promise.race([
      lines.question('', { signal: cli.context.signal }),
      new Promise<string>((resolve) => lines.once('close', () => resolve(''))),
    ]);
    return ['y', 'yes'].includes(answer.trim().toLowerCase());
  } finally {
    lines.close();
  }
}
