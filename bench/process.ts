import { type ChildProcess, spawn } from 'node:child_process';

export interface Finished {
  readonly seconds: number;
  readonly stdout: string;
}

/** Runs a program that must succeed; the time is from before the spawn to its end. */
export async function run(
  command: readonly [string, ...string[]],
  options: { input?: string } = {},
): Promise<Finished> {
  const begin = performance.now();
  const child = spawn(command[0], command.slice(1), {
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-2000);
  });
  child.stdin?.end(options.input);
  const code = await exited(child);
  const seconds = (performance.now() - begin) / 1000;
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}: ${stderr.trim()}`);
  return { seconds, stdout };
}

function exited(child: ChildProcess): Promise<number | string | null> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal));
  });
}

/** The seconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return (performance.now() - begin) / 1000;
}

/**
 * Measures the contestants in turns, so that what else the machine does hits all of them alike. The first `warmup` turns don't count.
 * Returns the seconds per contestant.
 */
export async function interleaved<Name extends string>(
  contestants: Readonly<Record<Name, () => Promise<number>>>,
  turns: number,
  warmup = 1,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(contestants) as Name[];
  const times = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let turn = 0; turn < turns + warmup; turn++) {
    for (const name of names) {
      const seconds = await contestants[name]();
      if (turn >= warmup) times[name].push(seconds);
    }
  }
  return times;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}
