import { KeelsonError, isKeelsonError, messageOf } from '../ground/errors.ts';
import type { Cli } from './cli.ts';

/** Ends a command with this exit code when everything there is to say has been said. */
export class Exit extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`exit code ${code}`);
    this.code = code;
  }
}

/** Docker's exit code for an error of `run`: 126 and 127 as a shell's, 125 when there is no container to speak for itself. */
export function runExitCode(error: unknown): number {
  if (isKeelsonError(error, 'command-not-executable')) return 126;
  if (isKeelsonError(error, 'command-not-found')) return 127;
  return 125;
}

/** Prints an error on standard error: `keelson: message`, with its causes and stack under `--debug`. */
export function printError(cli: Cli, error: unknown): void {
  cli.stderr.line(`keelson: ${messageOf(error)}`);
  if (error instanceof KeelsonError && error.code === 'internal' && !cli.options.debug)
    cli.stderr.line(
      "keelson: this is a defect of Keelson's; run again with --debug for its stack, and report it, please",
    );
  if (!cli.options.debug || !(error instanceof Error)) return;
  let cause: unknown = error;
  while (cause instanceof Error) {
    cli.stderr.line(cause.stack ?? cause.message);
    if (cause instanceof KeelsonError && Object.keys(cause.details).length > 0)
      cli.stderr.line(`  ${cause.code} ${JSON.stringify(cause.details)}`);
    cause = cause.cause;
  }
}

/**
 * Does `work` for all of `names` at once, prints what it returns in their order, goes on after errors. As with docker the errors come
 * at the end; exit code 1 when there was one.
 */
export async function forEachName(
  cli: Cli,
  names: readonly string[],
  work: (name: string) => Promise<string | undefined>,
): Promise<number> {
  const outcomes = names.map(async (name) => {
    try {
      return { line: await work(name) };
    } catch (error) {
      return { error };
    }
  });
  const errors: unknown[] = [];
  for (const pending of outcomes) {
    const outcome = await pending;
    // After an interrupt there is nothing more to tell of.
    if ('error' in outcome && cli.interrupted !== undefined) throw outcome.error;
    if ('error' in outcome) errors.push(outcome.error);
    else if (outcome.line !== undefined) cli.stdout.line(outcome.line);
  }
  for (const error of errors) printError(cli, error);
  return errors.length === 0 ? 0 : 1;
}
