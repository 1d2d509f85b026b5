/** Hooks in the runtime's namespaces, and how their failures are told. */
import { isKeelsonError, KeelsonError } from '../../ground/errors.ts';
import { PlanBuilder } from '../../kernel/plan-builder.ts';
import type { Hook, Hooks } from '../../spec/runtime.ts';
import { hookFailure, hookFailureTag, type HookOptions, runHooks } from '../hook-steps.ts';
import { type Extensions } from './annotations.ts';
import type { Host } from './host.ts';

/** Hooks that name no environment have that of whoever called the runtime; they run in the bundle. */
export function hookOptions(
  { environment }: Host,
  { hooksStdout, hooksStderr }: Extensions,
  bundle: string,
): HookOptions {
  return {
    cwd: bundle,
    environment: Object.entries(environment).map(([name, value]) => `${name}=${value}`),
    ...(hooksStdout !== undefined && { stdout: hooksStdout }),
    ...(hooksStderr !== undefined && { stderr: hooksStderr }),
  };
}

/** One after the other; throws the first failure. `state`: JSON. */
export async function runHostHooks(
  host: Host,
  kind: keyof Hooks,
  hooks: readonly Hook[],
  options: { state: string; extensions: Extensions; bundle: string },
): Promise<void> {
  const b = new PlanBuilder(host.facts.arch);
  runHooks(b, kind, hooks, options.state, hookOptions(host, options.extensions, options.bundle));
  let failure: string | undefined;
  try {
    await host.runner.run(b.build(), {
      onReport(message) {
        if (message.tag === hookFailureTag) failure = hookFailure(message);
      },
    });
  } catch (error) {
    throw failure === undefined ? error : withHookFailure(error, failure);
  }
}

/** A hook's failure in the error of the plan that gave up for it. */
export function withHookFailure(error: unknown, failure: string): unknown {
  if (!isKeelsonError(error)) return error;
  const { code, details, message } = error;
  // The words of a plan that gave up end with its errno, which says nothing here.
  const text = message.replace(/: fail: E[A-Z0-9]+ \([^)]*\)$/, '');
  return new KeelsonError(code, `${text}: ${failure}`, { cause: error, details: { ...details, syscall: 'hook' } });
}
