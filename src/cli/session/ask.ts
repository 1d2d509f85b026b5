import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';
import type { Cli } from '../cli.ts';
import { Exit } from '../failure.ts';

async function question(cli: Cli, text: string, output?: Writable): Promise<string> {
  cli.stderr.write(text);
  const lines = createInterface({ input: process.stdin, ...(output && { output, terminal: true }) });
  try {
    // Ctrl-C while the terminal's keys are ours is not a signal.
    lines.once('SIGINT', () => lines.close());
    const closed = new Promise<never>((_, reject) => lines.once('close', () => reject(new Exit(130))));
    closed.catch(() => {});
    return (await Promise.race([lines.question('', { signal: cli.context.signal }), closed])).trim();
  } finally {
    lines.close();
  }
}

/** Asks a question on the terminal. */
export async function ask(cli: Cli, text: string): Promise<string> {
  return question(cli, text);
}

/** The same without showing what is typed. */
export async function askSecret(cli: Cli, text: string): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const answer = await question(cli, text, nowhere);
  cli.stderr.write('\n');
  return answer;
}
