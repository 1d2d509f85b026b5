/** Running the hooks of a config (runtime-spec, config.md#posix-platform-hooks): each is given the container's state on standard input. */
import { AT_FDCWD, CLOSE_RANGE_CLOEXEC, O_CLOEXEC, O_RDWR, SIGKILL } from '../kernel/constants.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Hook, Hooks } from '../spec/runtime.ts';
import { pipe } from './stdio.ts';
import { resetSignals } from './signal-steps.ts';

/** One after the other; the first that fails fails the plan. `state` is the JSON of `state`; `environment` is for hooks that name none. */
export function runHooks(
  b: PlanBuilder,
  kind: keyof Hooks,
  hooks: readonly Hook[] | undefined,
  state: string,
  environment: readonly string[] = [],
): void {
  for (const [i, hook] of (hooks ?? []).entries()) runHook(b, `${kind} hook #${i}`, hook, state, environment);
}

function runHook(b: PlanBuilder, what: string, hook: Hook, state: string, environment: readonly string[]): void {
  const doing = `error running ${what}: ${hook.path}`;
  b.group('hooks').doing(doing);
  const input = pipe(b, 'hook_stdin');
  const child = b.clone({ flags: 0n, name: 'hook' }, () => {
    resetSignals(b);
    const nul = b.sys('openat', [AT_FDCWD, '/dev/null', O_RDWR | O_CLOEXEC]);
    b.sys('dup3', [input.read, 0, 0]);
    b.sys('dup3', [nul, 1, 0]);
    b.sys('dup3', [nul, 2, 0]);
    b.sys('close_range', [3, 0xffffffff, CLOSE_RANGE_CLOEXEC]);
    b.sys('execve', [
      hook.path,
      b.strings(hook.args?.length ? hook.args : [hook.path]),
      b.strings(hook.env ?? environment),
    ]);
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
    b.fail('ETIMEDOUT', `${doing}: not done after ${hook.timeout} s`);
  }
  b.place(ended);
  b.sys('wait4', [child.pid, status, 0, 0]);
  b.await(child.report);
  b.branch(b.peek(status, 4, 'status'), '==', 0, done);
  b.fail('ECHILD', `${doing}: exit status is not 0`);
  b.place(done);
  if (child.pidfd) b.sys('close', [child.pidfd]);
}
