/** Running the hooks of a config (runtime-spec, config.md#posix-platform-hooks): each is given the container's state on standard input. */
import { CLOSE_RANGE_CLOEXEC, SIGKILL } from '../kernel/constants.ts';
import type { PlanMessage } from '../kernel/plan-answers.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Hook, Hooks } from '../spec/runtime.ts';
import type { Environment } from './exec-steps.ts';
import { pipe } from './stdio.ts';
import { resetSignals } from './signal-steps.ts';

/** The tag of the report that carries what a hook that failed has printed. */
export const hookOutputTag = 20;

/** What it was, for an error. */
export function hookOutput({ registers, blobs }: PlanMessage): string {
  const size = Math.max(0, Number(registers[0] ?? 0n));
  return Buffer.from(blobs[0] ?? [])
    .toString('utf8', 0, size)
    .trim();
}

/**
 * One after the other; the first that fails fails the plan. `state` is the JSON of `state`; `environment` is for hooks that name none; `confine`
 * comes right before a hook's program.
 */
export function runHooks(
  b: PlanBuilder,
  kind: keyof Hooks,
  hooks: readonly Hook[] | undefined,
  state: string,
  environment: Environment = [],
  confine?: () => void,
): void {
  for (const [i, hook] of (hooks ?? []).entries()) runHook(b, `${kind} hook #${i}`, hook, state, environment, confine);
}

function runHook(
  b: PlanBuilder,
  what: string,
  hook: Hook,
  state: string,
  environment: Environment,
  confine: (() => void) | undefined,
): void {
  const doing = `error running ${what}: ${hook.path}`;
  b.group('hooks').doing(doing);
  const input = pipe(b, 'hook_stdin');
  const output = b.sys('memfd_create', ['hook', 1]);
  const child = b.clone({ flags: 0n, name: 'hook' }, () => {
    resetSignals(b);
    b.sys('dup3', [input.read, 0, 0]);
    b.sys('dup3', [output, 1, 0]);
    b.sys('dup3', [output, 2, 0]);
    b.sys('close_range', [3, 0xffffffff, CLOSE_RANGE_CLOEXEC]);
    confine?.();
    b.group('hooks')
      .doing(doing)
      .sys('execve', [
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
  const text = b.blob(1024, 'output');
  const size = b.sys('pread64', [output, text, 1024, 0], { on: { any: 'continue' } });
  // Nobody listens when the container was started long after it was created.
  b.report(hookOutputTag, [size], [text]);
  b.fail('ECHILD', `${doing}: exit status is not 0`);
  b.place(done);
  b.sys('close', [output]);
  if (child.pidfd) b.sys('close', [child.pidfd]);
}
