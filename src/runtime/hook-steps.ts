/** Running the hooks of a config (runtime-spec, config.md#posix-platform-hooks): each is given the container's state on standard input. */
import { AT_FDCWD, CLOSE_RANGE_CLOEXEC, O_APPEND, O_CLOEXEC, O_CREAT, O_WRONLY, SIGKILL } from '../kernel/constants.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanMessage } from '../kernel/plan-answers.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Hook, Hooks } from '../spec/runtime.ts';
import type { Environment } from './exec-steps.ts';
import { pipe } from './stdio.ts';
import { resetSignals } from './signal-steps.ts';

/** The tag of the report that says how a hook has failed: its wait status and what it has printed. */
export const hookFailureTag = 20;

export interface HookOptions {
  /** For hooks that name none. */
  readonly environment?: Environment;
  /** Where they run; absent: where the process is that runs them. */
  readonly cwd?: string;
  /** Files that what the hooks print is appended to. */
  readonly stdout?: string;
  readonly stderr?: string;
  /** Steps right before a hook's program. */
  readonly confine?: () => void;
}

const outputSize = 4096;

/** As Go's os/exec words it, which is what callers of runc know. */
const signalWords: Readonly<Record<number, string>> = {
  1: 'hangup',
  2: 'interrupt',
  3: 'quit',
  4: 'illegal instruction',
  5: 'trace/breakpoint trap',
  6: 'aborted',
  7: 'bus error',
  8: 'floating point exception',
  9: 'killed',
  10: 'user defined signal 1',
  11: 'segmentation fault',
  12: 'user defined signal 2',
  13: 'broken pipe',
  14: 'alarm clock',
  15: 'terminated',
  31: 'bad system call',
};

/** How it has failed, for an error. */
export function hookFailure({ registers, blobs }: PlanMessage): string {
  const [status = 0, ...sizes] = registers.map(Number);
  const printed = blobs.map((blob, i) => Buffer.from(blob).toString('utf8', 0, Math.max(0, sizes[i] ?? 0)));
  const signal = status & 0x7f;
  const ending = signal === 0 ? `exit status ${status >> 8}` : `signal: ${signalWords[signal] ?? `signal ${signal}`}`;
  return `${ending}${status & 0x80 ? ' (core dumped)' : ''}, stdout: ${printed[0] ?? ''}, stderr: ${printed[1] ?? ''}`;
}

/** One after the other; the first that fails fails the plan. `state` is the JSON of `state`. */
export function runHooks(
  b: PlanBuilder,
  kind: keyof Hooks,
  hooks: readonly Hook[] | undefined,
  state: string,
  options: HookOptions = {},
): void {
  for (const [i, hook] of (hooks ?? []).entries()) runHook(b, `error running ${kind} hook #${i}`, hook, state, options);
}

function runHook(b: PlanBuilder, doing: string, hook: Hook, state: string, options: HookOptions): void {
  b.group('hooks').doing(doing);
  const input = pipe(b, 'hook_stdin');
  const out = output(b, options.stdout);
  const err = output(b, options.stderr);
  const child = b.clone({ flags: 0n, name: 'hook' }, () => {
    resetSignals(b);
    for (const [i, fd] of [input.read, out, err].entries()) b.sys('dup3', [fd, i, 0]);
    b.sys('close_range', [3, 0xffffffff, CLOSE_RANGE_CLOEXEC], { on: { any: 'continue' } });
    if (options.cwd !== undefined) b.sys('chdir', [options.cwd], { doing: `${doing}: changing to ${options.cwd}` });
    options.confine?.();
    b.group('hooks');
    const argv = b.strings(hook.args?.length ? hook.args : [hook.path]);
    const envp = b.strings(hook.env ?? options.environment ?? []);
    b.sys('execve', [hook.path, argv, envp], { doing: `${doing}: ${hook.path}` });
  });
  b.sys('close', [input.read]);
  b.write(input.write, state, { on: { EPIPE: 'continue' } });
  b.sys('close', [input.write]);
  const [ended, done] = [b.label(), b.label()];
  const status = b.blob(8, 'status');
  if (hook.timeout !== undefined && child.pidfd) {
    const polled = b.struct('{fd=hook, events=POLLIN}', 8, [
      [0, 4, child.pidfd],
      [4, 2, 1],
    ]);
    const limit = b.struct(`{tv_sec=${hook.timeout}}`, 16, [[0, 8, hook.timeout]]);
    const count = b.sys('ppoll', [polled, 1, limit, 0, 8]);
    b.branch(count, '!=', 0, ended);
    b.sys('pidfd_send_signal', [child.pidfd, SIGKILL, 0, 0]);
    b.sys('wait4', [child.pid, status, 0, 0]);
    b.fail('ETIMEDOUT', `${doing}: hook ran past specified timeout of ${hook.timeout.toFixed(1)}s`);
  }
  b.place(ended);
  b.sys('wait4', [child.pid, status, 0, 0]);
  b.await(child.report);
  const code = b.peek(status, 4, 'status');
  b.branch(code, '==', 0, done);
  const printed = [options.stdout === undefined ? out : undefined, options.stderr === undefined ? err : undefined].map(
    (fd) => {
      const text = b.blob(outputSize, 'output');
      const size = b.reg('bytes');
      b.set(size, 0);
      if (fd) b.sys('pread64', [fd, text, outputSize, 0], { dst: size, on: { any: 'continue' } });
      return { text, size };
    },
  );
  // Nobody listens when the container was started long after it was created.
  b.report(
    hookFailureTag,
    [code, ...printed.map((p) => p.size)],
    printed.map((p) => p.text),
  );
  b.fail('ECHILD', doing);
  b.place(done);
  for (const fd of [out, err]) b.sys('close', [fd]);
  if (child.pidfd) b.sys('close', [child.pidfd]);
}

function output(b: PlanBuilder, file: string | undefined): Reg {
  if (file === undefined) return b.sys('memfd_create', ['hook', 1]);
  const doing = `opening ${file} for the output of hooks`;
  return b.sys('openat', [AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o700], { doing });
}
