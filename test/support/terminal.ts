import { spawn } from 'node:child_process';
import type { TestEngine } from './engine.ts';
import { commandLine } from './engine.ts';

/** A command on a terminal of its own. */
export interface Terminal {
  /** Everything the terminal has shown. */
  readonly shown: string;
  type(keys: string): void;
  /** Waits until what was shown matches; throws after ten seconds. */
  until(pattern: RegExp): Promise<void>;
  readonly exit: Promise<number>;
}

/** Starts the command line on a new pseudo-terminal, made by script(1). */
export function onTerminal(
  engine: TestEngine,
  args: readonly string[],
  size: { readonly rows: number; readonly columns: number } = { rows: 24, columns: 80 },
): Terminal {
  const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`;
  const command = `stty rows ${size.rows} cols ${size.columns}; exec ${[...commandLine, ...args].map(quote).join(' ')}`;
  const child = spawn('script', ['-qefc', command, '/dev/null'], {
    cwd: engine.scratch,
    env: { ...process.env, ...engine.env, TERM: 'xterm', SHELL: '/bin/sh' },
  });
  let shown = '';
  let changed: () => void = () => {};
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text;
    changed();
  });
  const exit = new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? -1)));
  return {
    get shown() {
      return shown;
    },
    type: (keys) => void child.stdin.write(keys),
    exit,
    async until(pattern) {
      const end = Date.now() + 10_000;
      while (!pattern.test(shown)) {
        const left = end - Date.now();
        if (left <= 0) {
          child.kill('SIGKILL');
          throw new Error(`the terminal never showed ${pattern.source}, but: ${JSON.stringify(shown)}`);
        }
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, left);
          changed = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    },
  };
}
