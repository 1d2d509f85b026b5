import { spawnSync } from 'node:child_process';
import type { ReadStream } from 'node:tty';
import type { ConsoleSize } from '../../engine/types.ts';
import type { Cli } from '../cli.ts';
import { Exit } from '../failure.ts';
import { isTerminal } from './is-terminal.ts';

/** Whether standard input is a terminal. */
export function inputIsTerminal(): boolean {
  return isTerminal(0);
}

/** The size of the terminal behind standard output, error or input; undefined when there is none. */
export function terminalSize(): ConsoleSize | undefined {
  const fd = [1, 2, 0].find((candidate) => isTerminal(candidate));
  if (fd === undefined) return undefined;
  const { WriteStream } = process.getBuiltinModule('node:tty');
  const [columns, rows] = new WriteStream(fd).getWindowSize();
  // A terminal that doesn't know its own says 0.
  return columns > 0 && rows > 0 ? { columns, rows } : undefined;
}

/** Columns to draw within; 80 where nobody knows. */
export function terminalColumns(): number {
  return terminalSize()?.columns ?? 80;
}

/** Keys go to the container as they are typed, and its output comes as it is, until `restore`. */
export function rawMode(input: ReadStream): { restore(): void } {
  input.setRawMode(true);
  // Node's raw mode leaves the terminal to make a carriage return of every line feed, which is the container's terminal's business: a
  // full-screen program would find its cursor elsewhere. Node has no call for it. Without stty(1) it stays so.
  spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] });
  const restore = (): void => {
    process.off('exit', restore);
    input.setRawMode(false);
  };
  process.on('exit', restore);
  return { restore };
}

/** Ends the command when a container's terminal would have no terminal's keys to read. */
export function checkTerminal(cli: Cli, options: { readonly stdin: boolean; readonly tty: boolean }): void {
  if (!options.stdin || !options.tty || inputIsTerminal()) return;
  cli.stderr.line('the input device is not a TTY');
  throw new Exit(1);
}
