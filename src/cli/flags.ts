/**
 * Docker's flag grammar (that of the pflag library): `--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`,
 * several booleans in one (`-it`), the last of which may take a value (`-dp 80:80`), `--` ends the flags, a boolean takes
 * its value only after `=`. Without `interspersed`, flags end at the first argument that isn't one.
 */

/** What a command line flag is: how it is written, shown in the help text, and turned into a value. */
export interface Flag<T> {
  readonly short?: string;
  readonly help: string;
  /** The word behind the flag in the help text: `string`, `list`, `bytes`; '' for booleans. */
  readonly type: string;
  /** Takes no value unless `=` follows. */
  readonly isBool: boolean;
  /** Left out of the help text. */
  readonly hidden: boolean;
  /** As the help text shows it behind the description, with the quotes it needs; '' for none. */
  readonly shownDefault: string;
  readonly initial: T;
  /** The value after one more `--flag text`. Throws an Error whose message names what is wrong with `text`. */
  set(previous: T, text: string): T;
}

export type FlagTable = Readonly<Record<string, Flag<unknown>>>;

export type FlagValues<F extends FlagTable> = { readonly [K in keyof F]: F[K] extends Flag<infer T> ? T : never };

/** The table whose values are those of an interface. */
export type FlagsFor<V> = { readonly [K in keyof V]: Flag<V[K]> };

interface FlagOptions {
  readonly short?: string;
  readonly hidden?: boolean;
}

/** The words that a user got wrong: shown with the command's usage line, exit code 125. */
export class FlagError extends Error {}

interface Shape<T> {
  readonly type: string;
  readonly initial: T;
  readonly set: (previous: T, text: string) => T;
  readonly shownDefault?: string;
}

/** A flag of any type. */
export function flag<T>(help: string, options: FlagOptions & Shape<T> & { readonly isBool?: boolean }): Flag<T> {
  const { short, hidden = false, isBool = false, shownDefault = '', type, initial, set } = options;
  const rest = { help, type, isBool, hidden, shownDefault, initial, set };
  return short === undefined ? rest : { short, ...rest };
}

const trueWords = new Set(['1', 't', 'T', 'TRUE', 'true', 'True']);
const falseWords = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False']);

/** The words for a boolean that Go's strconv.ParseBool knows. */
export function parseBool(text: string): boolean {
  if (trueWords.has(text)) return true;
  if (falseWords.has(text)) return false;
  throw new Error(`strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`);
}

export function bool(help: string, options: FlagOptions & { readonly initial?: boolean } = {}): Flag<boolean> {
  const { initial = false } = options;
  return flag(help, {
    ...options,
    type: '',
    isBool: true,
    initial,
    shownDefault: initial ? 'true' : '',
    set: (_, text) => parseBool(text),
  });
}

export function string(
  help: string,
  options: FlagOptions & { readonly initial?: string; readonly type?: string } = {},
): Flag<string> {
  const { initial = '', type = 'string' } = options;
  return flag(help, {
    ...options,
    type,
    initial,
    shownDefault: initial && JSON.stringify(initial),
    set: (_, text) => text,
  });
}

/** A repeatable flag. `check` returns the value as it is kept, or throws. */
export function list(
  help: string,
  options: FlagOptions & { readonly type?: string; readonly check?: (text: string) => string } = {},
): Flag<readonly string[]> {
  const { check = (text: string) => text, type = 'list' } = options;
  return flag<readonly string[]>(help, {
    ...options,
    type,
    initial: [],
    set: (previous, text) => [...previous, check(text)],
  });
}

/** A repeatable flag whose values are parsed one by one. */
export function listOf<T>(
  help: string,
  options: FlagOptions & { readonly type?: string; readonly parse: (text: string) => T },
): Flag<readonly T[]> {
  const { parse, type = 'list' } = options;
  return flag<readonly T[]>(help, {
    ...options,
    type,
    initial: [],
    set: (previous, text) => [...previous, parse(text)],
  });
}

/** A flag whose value is parsed; undefined when it isn't given. */
export function parsed<T>(
  help: string,
  options: FlagOptions & {
    readonly type: string;
    readonly parse: (text: string) => T;
    readonly shownDefault?: string;
  },
): Flag<T | undefined> {
  return flag<T | undefined>(help, { ...options, initial: undefined, set: (_, text) => options.parse(text) });
}

const integerRanges = {
  int: [-(2n ** 63n), 2n ** 63n - 1n],
  uint16: [0n, 65535n],
} as const;

/** A decimal, 0x, 0o or 0b integer as Go's strconv reads it, with Go's words where it can't. */
export function parseInteger(text: string, type: 'int' | 'uint16' = 'int'): number {
  const name = type === 'int' ? 'ParseInt' : 'ParseUint';
  const signed = type === 'int' ? /^[+-]?/ : /^/;
  const digits = text.replace(signed, '');
  if (!/^(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|[0-9]+)$/.test(digits))
    throw new Error(`strconv.${name}: parsing ${JSON.stringify(text)}: invalid syntax`);
  const magnitude = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits);
  const value = text.startsWith('-') ? -magnitude : magnitude;
  const [low, high] = integerRanges[type];
  if (value < low || value > high)
    throw new Error(`strconv.${name}: parsing ${JSON.stringify(text)}: value out of range`);
  return Number(value);
}

/** An integer; undefined when it isn't given. */
export function int(
  help: string,
  options: FlagOptions & { readonly type?: 'int' | 'uint16'; readonly shownDefault?: string } = {},
): Flag<number | undefined> {
  const { type = 'int' } = options;
  return parsed(help, { ...options, type, parse: (text) => parseInteger(text, type) });
}

/** A flag of docker's that Keelson knows and refuses: better an error than a container that lacks what was asked for. */
export function refused(type: string, why = 'not supported by keelson'): Flag<undefined> {
  return flag<undefined>('', {
    hidden: true,
    type,
    isBool: type === '',
    initial: undefined,
    set: (_, text) => {
      if (type === '' && text !== 'true' && !parseBool(text)) return undefined;
      throw new Error(why);
    },
  });
}

/** What was on the command line. */
export interface ParsedFlags<F extends FlagTable> {
  readonly flags: FlagValues<F>;
  readonly args: readonly string[];
  /** Names of the flags that were given. */
  readonly given: ReadonlySet<string>;
  /** `--help` was given: nothing else counts. */
  readonly help: boolean;
}

/** Reads `words` by `table`. Throws a FlagError on what it can't read. */
export function parseFlags<F extends FlagTable>(
  table: F,
  words: readonly string[],
  options: { readonly interspersed?: boolean } = {},
): ParsedFlags<F> {
  const { interspersed = true } = options;
  const values: Record<string, unknown> = {};
  const shorts = new Map<string, string>();
  for (const [name, spec] of Object.entries(table)) {
    values[name] = spec.initial;
    if (spec.short !== undefined) shorts.set(spec.short, name);
  }
  const given = new Set<string>();
  const args: string[] = [];
  let help = false;

  const assign = (name: string, text: string): void => {
    const spec = table[name] as Flag<unknown>;
    try {
      values[name] = spec.set(values[name], text);
    } catch (error) {
      const shown = spec.short === undefined ? `--${name}` : `-${spec.short}, --${name}`;
      throw new FlagError(
        `invalid argument ${JSON.stringify(text)} for ${JSON.stringify(shown)} flag: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
    given.add(name);
  };

  let at = 0;
  while (at < words.length) {
    const word = words[at++] as string;
    if (word === '--') {
      args.push(...words.slice(at));
      break;
    }
    if (word.length < 2 || !word.startsWith('-')) {
      args.push(word);
      if (interspersed) continue;
      args.push(...words.slice(at));
      break;
    }
    if (word.startsWith('--')) {
      const equals = word.indexOf('=');
      const name = word.slice(2, equals < 0 ? undefined : equals);
      if (name === '' || name.startsWith('-')) throw new FlagError(`bad flag syntax: ${word}`);
      const spec = Object.hasOwn(table, name) ? table[name] : undefined;
      if (spec === undefined) {
        if (name === 'help') {
          help = equals < 0 || parseBool(word.slice(equals + 1));
          if (help) break;
          continue;
        }
        throw new FlagError(`unknown flag: --${name}`);
      }
      if (equals >= 0) assign(name, word.slice(equals + 1));
      else if (spec.isBool) assign(name, 'true');
      else if (at < words.length) assign(name, words[at++] as string);
      else throw new FlagError(`flag needs an argument: --${name}`);
      continue;
    }
    // One or more short flags.
    for (let i = 1; i < word.length; i++) {
      const letter = word[i] as string;
      const name = shorts.get(letter);
      if (name === undefined) {
        if (letter === 'h') {
          help = true;
          break;
        }
        throw new FlagError(`unknown shorthand flag: '${letter}' in -${word.slice(i)}`);
      }
      const spec = table[name] as Flag<unknown>;
      const rest = word.slice(i + 1);
      if (rest.startsWith('=') && rest.length > 0) {
        assign(name, rest.slice(1));
        break;
      }
      if (spec.isBool) {
        assign(name, 'true');
        continue;
      }
      if (rest !== '') assign(name, rest);
      else if (at < words.length) assign(name, words[at++] as string);
      else throw new FlagError(`flag needs an argument: '${letter}' in -${word.slice(i)}`);
      break;
    }
    if (help) break;
  }
  return { flags: values as FlagValues<F>, args, given, help };
}
