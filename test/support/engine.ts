import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LeakCheck, leakCheck } from './leaks.ts';

export const checkout: string = join(import.meta.dirname, '../..');

export interface CommandResult {
  /** 128 + n for a command that was killed by signal n, as a shell says it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds, then SIGKILL and an error; a minute where absent. */
  readonly timeoutMs?: number;
  readonly cwd?: string;
}

export interface TestEngine extends AsyncDisposable {
  readonly root: string;
  readonly run: string;
  /** What a child process of a test needs to work on the same data. */
  readonly env: Readonly<Record<string, string>>;
  /** A directory for the test's own files. */
  readonly scratch: string;
  readonly leaks: LeakCheck;
  /** The command line; never throws for an exit code. */
  cli(args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  /** The command line, which must succeed: its standard output without the last newline. */
  keelson(...args: readonly string[]): Promise<string>;
  /** The command line as a process to talk to. */
  start(args: readonly string[], options?: CommandOptions): ChildProcess;
}

/**
 * An engine with directories of its own. On disposal the containers are removed, nothing may be left behind (unless `leaks: false`),
 * and the directories go.
 *
 *     await using engine = await testEngine();
 *     assert.equal(await engine.keelson('run', '--rm', 'host', 'echo', 'hello'), 'hello');
 */
export async function testEngine(options: { leaks?: boolean; allow?: readonly RegExp[] } = {}): Promise<TestEngine> {
  const top = await mkdtemp(join(tmpdir(), 'keelson-test-'));
  const root = join(top, 'root');
  const run = join(top, 'run');
  const scratch = join(top, 'scratch');
  for (const path of [root, run, scratch]) await mkdir(path);
  // Client configuration of the person who runs the tests must not matter.
  const env = { KEELSON_ROOT: root, KEELSON_RUN: run, DOCKER_CONFIG: join(scratch, '.docker') };
  // The bridge and its table are made with the first container and stay.
  const leaks = await leakCheck({ root, run, ...(options.allow ? { allow: options.allow } : {}) });
  const start: TestEngine['start'] = (args, { env: more = {}, cwd = scratch } = {}) =>
    spawn(commandLine[0], [...commandLine.slice(1), ...args], { cwd, env: { ...process.env, ...env, ...more } });
  const cli: TestEngine['cli'] = async (args, commandOptions = {}) =>
    finished(start(args, commandOptions), `keelson ${args.join(' ')}`, commandOptions);
  const keelson: TestEngine['keelson'] = async (...args) => {
    const { code, stdout, stderr } = await cli(args);
    if (code !== 0) throw new Error(`keelson ${args.join(' ')} exited with ${code}: ${stderr}${stdout}`);
    return stdout.replace(/\n$/, '');
  };
  return {
    ...{ root, run, env, scratch, leaks, cli, keelson, start },
    async [Symbol.asyncDispose]() {
      try {
        const left = (await keelson('ps', '-aq')).split('\n').filter((id) => id !== '');
        if (left.length > 0) await keelson('rm', '-f', '-v', ...left);
        if (options.leaks !== false) await leaks.verify();
      } finally {
        await clear(run);
        await rm(top, { recursive: true, force: true });
      }
    },
  };
}

/** Waits for a process that `start` made, feeding it `input`. */
export async function finished(
  child: ChildProcess,
  what: string,
  options: CommandOptions = {},
): Promise<CommandResult> {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdin?.on('error', () => {});
  child.stdin?.end(options.input ?? '');
  let timedOut = false;
  const timeoutMs = options.timeoutMs ?? 60_000;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill('SIGKILL');
    // A container that it started may hold the pipes.
    child.stdout?.destroy();
    child.stderr?.destroy();
  }, timeoutMs);
  const [code, signal] = (await once(child, 'close').finally(() => clearTimeout(timer))) as [
    number | null,
    string | null,
  ];
  if (timedOut) throw new Error(`${what} was not done after ${timeoutMs / 1000} s; so far: ${stderr}${stdout}`);
  return { code: code ?? 128 + signalNumber(signal), stdout, stderr };
}

function signalNumber(name: string | null): number {
  return (
    { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGPIPE: 13, SIGTERM: 15 }[name ?? ''] ?? 0
  );
}

/** The built command line where it is current, else the sources: a test never runs yesterday's code. */
export const commandLine: readonly [string, ...string[]] = isBuilt()
  ? [join(checkout, 'bin/keelson')]
  : [process.execPath, '--disable-warning=ExperimentalWarning', join(checkout, 'src/cli/main.ts')];

function isBuilt(): boolean {
  const built = join(checkout, 'dist/.built');
  if (!existsSync(built)) return false;
  const time = statSync(built).mtimeMs;
  return readdirSync(join(checkout, 'src'), { recursive: true, withFileTypes: true }).every(
    (entry) => !entry.isFile() || statSync(join(entry.parentPath, entry.name)).mtimeMs <= time,
  );
}

/** Ends what still works on the run directory, so that a failed test does not disturb the next. */
async function clear(run: string): Promise<void> {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue;
    const texts = await Promise.all(
      ['cmdline', 'environ'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '')),
    );
    if (!texts[0]?.includes(run) && !texts[1]?.includes(`KEELSON_RUN=${run}`)) continue;
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  }
}
