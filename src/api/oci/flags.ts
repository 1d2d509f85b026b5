/** Flags in the way of the programs that call an OCI runtime: `--name value`, `--name=value`, `-n value`, booleans with or without `=true`. */
import { KeelsonError } from '../../ground/errors.ts';

export type FlagKind = 'bool' | 'text' | 'list';
/** By name without dashes; `short`: other names of it. */
export type Flags = Readonly<Record<string, { readonly kind: FlagKind; readonly short?: readonly string[] }>>;

export class Parsed {
  readonly words: readonly string[];
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(words: readonly string[], values: ReadonlyMap<string, readonly string[]>) {
    this.words = words;
    this.#values = values;
  }

  bool(name: string): boolean {
    const value = this.#values.get(name)?.at(-1);
    return value !== undefined && !['false', '0', 'f', 'F', 'FALSE', 'False'].includes(value);
  }

  text(name: string): string | undefined {
    return this.#values.get(name)?.at(-1);
  }

  list(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  number(name: string): number | undefined {
    const value = this.text(name);
    if (value === undefined) return undefined;
    if (!/^-?\d+$/.test(value))
      throw new KeelsonError('invalid-argument', `invalid value "${value}" for flag --${name}`);
    return Number(value);
  }
}

/** With `first`, words after the first one that is no flag are left as they are. */
export function parseFlags(args: readonly string[], flags: Flags, options: { first?: boolean } = {}): Parsed {
  const names = new Map<string, string>();
  for (const [name, { short = [] }] of Object.entries(flags))
    for (const other of [name, ...short]) names.set(other, name);
  const values = new Map<string, string[]>();
  const words: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string;
    if (arg === '--') {
      words.push(...args.slice(i + 1));
      break;
    }
    // A lone dash is a word; so is a negative number, as of `kill`.
    if (!arg.startsWith('-') || arg === '-' || /^-\d+$/.test(arg)) {
      words.push(arg);
      if (!options.first) continue;
      words.push(...args.slice(i + 1));
      break;
    }
    const dashes = arg.startsWith('--') ? 2 : 1;
    const equals = arg.indexOf('=');
    const given = arg.slice(dashes, equals < 0 ? undefined : equals);
    const name = names.get(given);
    if (name === undefined) throw new KeelsonError('invalid-argument', `flag provided but not defined: -${given}`);
    let value = equals < 0 ? undefined : arg.slice(equals + 1);
    if (flags[name]?.kind === 'bool') value ??= 'true';
    else if (value === undefined) {
      value = args[++i];
      if (value === undefined) throw new KeelsonError('invalid-argument', `flag needs an argument: -${given}`);
    }
    values.set(name, [...(values.get(name) ?? []), value]);
  }
  return new Parsed(words, values);
}
