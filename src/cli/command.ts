import type { Cli } from './cli.ts';
import { type FlagTable, type FlagValues, type ParsedFlags, parseFlags } from './flags.ts';

/** One invocation, as a command's `run` sees it. */
export interface Invocation<F extends FlagTable> {
  readonly cli: Cli;
  /** The words that led here, for messages: `run`, `container ls`. */
  readonly path: string;
  readonly flags: FlagValues<F>;
  readonly given: ReadonlySet<string>;
  readonly args: readonly string[];
}

/** How many positional arguments a command takes. */
export interface Arity {
  readonly min: number;
  readonly max: number;
}

export const noArgs: Arity = { min: 0, max: 0 };
export const exactly = (n: number): Arity => ({ min: n, max: n });
export const atLeast = (n: number): Arity => ({ min: n, max: Infinity });
export const atMost = (n: number): Arity => ({ min: 0, max: n });
export const between = (min: number, max: number): Arity => ({ min, max });

interface CommandSpec<F extends FlagTable> {
  /** What follows the command's name in the usage line: `[OPTIONS] IMAGE [COMMAND] [ARG...]`. Several lines for several forms. */
  readonly usage: string | readonly string[];
  /** What it does, for its help text. The program's table has the one-line form. */
  readonly about: string;
  /** Every way to call it, in the help text. */
  readonly aliases?: readonly string[];
  readonly arity: Arity;
  /** False where flags behind the first argument belong to somebody else (`run`, `exec`, `top`). */
  readonly interspersed?: boolean;
  readonly flags: F;
  /** Checked before anything else is done; throws what `usageError` makes. */
  run(invocation: Invocation<F>): Promise<number>;
}

/** A command without its flags' types, as the program's table holds it. */
export interface Command {
  readonly usage: readonly string[];
  readonly about: string;
  readonly aliases: readonly string[];
  readonly arity: Arity;
  readonly flags: FlagTable;
  parse(words: readonly string[]): ParsedFlags<FlagTable>;
  run(cli: Cli, path: string, parsed: ParsedFlags<FlagTable>): Promise<number>;
}

/** Makes a command of its description; its `run` returns the exit code. */
export function command<F extends FlagTable>(spec: CommandSpec<F>): Command {
  return {
    usage: typeof spec.usage === 'string' ? [spec.usage] : spec.usage,
    about: spec.about,
    aliases: spec.aliases ?? [],
    arity: spec.arity,
    flags: spec.flags,
    parse: (words) => parseFlags(spec.flags, words, { interspersed: spec.interspersed ?? true }),
    run: async (cli, path, { flags, given, args }) =>
      spec.run({ cli, path, flags: flags as FlagValues<F>, given, args }),
  };
}
