import { spawn } from 'node:child_process';

export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end; one that takes longer than a minute is ended. Waits for the program alone: what it leaves behind may keep its pipes. */
export function run(command: readonly string[], options: { input?: string; seconds?: number } = {}): Promise<Result> {
  const [file = '', ...args] = command;
  const child = spawn(file, args, { stdio: 'pipe' });
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (part: string) => {
      text[name] += part;
    });
  }
  child.stdin.on('error', () => {}); // it needs no input
  child.stdin.end(options.input ?? '');
  const timer = setTimeout(() => child.kill('SIGKILL'), (options.seconds ?? 60) * 1000);
  return new Promise((resolve) => {
    const done = (code: number): void => {
      clearTimeout(timer);
      resolve({ code, ...text });
    };
    child.once('error', (error) => {
      text.stderr += error.message;
      done(-1);
    });
    child.once('exit', (code, signal) => {
      if (signal === 'SIGKILL') text.stderr += '(not done in time)';
      const end = (): void => done(code ?? -1);
      const late = setTimeout(end, 200);
      child.once('close', () => {
        clearTimeout(late);
        end();
      });
    });
  });
}

/** What a program printed and how it ended, in one line: `CODE: OUTPUT`. */
export function line({ code, stdout, stderr }: Result): string {
  const text = `${stdout}\n${stderr}`.replaceAll(/\s+/g, ' ').trim();
  return `${code}: ${text}`.trim();
}

/** Asks until the answer satisfies, for at most `seconds`; resolves with the last answer. */
export async function until(
  ask: () => Promise<string>,
  good: (answer: string) => boolean,
  seconds = 20,
): Promise<string> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await ask();
    if (good(answer) || Date.now() > deadline) return answer;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
