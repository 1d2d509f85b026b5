import { KeelsonError } from '../ground/errors.ts';

/** One thing wrong with a document: where, what was found, what is allowed, and where that is written. */
export interface Problem {
  /** `linux.resources.memory.limit`, `mounts[2].destination`; '' for the document itself. */
  readonly path: string;
  readonly message: string;
  /** `config-linux.md#memory`. */
  readonly section: string;
}

/** A place in the document being read. */
export class At {
  readonly path: string;
  readonly section: string;
  readonly problems: Problem[];

  constructor(path: string, section: string, problems: Problem[]) {
    this.path = path;
    this.section = section;
    this.problems = problems;
  }

  key(name: string): At {
    const plain = /^[A-Za-z_][\w-]*$/.test(name);
    const step = plain ? (this.path === '' ? name : `.${name}`) : `[${JSON.stringify(name)}]`;
    return new At(this.path + step, this.section, this.problems);
  }

  index(i: number): At {
    return new At(`${this.path}[${i}]`, this.section, this.problems);
  }

  within(section: string): At {
    return new At(this.path, section, this.problems);
  }

  report(message: string): void {
    this.problems.push({ path: this.path, message, section: this.section });
  }

  /** Reports that `value` is not what `wanted` says. */
  wrong(value: unknown, wanted: string): void {
    this.report(`expected ${wanted}, got ${shown(value)}`);
  }
}

/** Reads a value: returns it as T, or reports a problem and returns anything. What it returns counts only if nothing was reported. */
export type Shape<T> = (value: unknown, at: At) => T;

function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'bigint') return String(value);
  const text = written(typeof value === 'string' ? value.slice(0, 60) : value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function written(value: unknown): string {
  try {
    return JSON.stringify(value) ?? typeof value;
  } catch {
    return `${Array.isArray(value) ? 'an array' : 'an object'} that is nested too deeply`;
  }
}

const nothing = undefined as never;

/** A string that can go to the kernel: without NUL. */
export const text: Shape<string> = (value, at) => {
  if (typeof value !== 'string') at.wrong(value, 'a string');
  else if (value.includes('\0')) at.report('contains a NUL byte');
  else return value;
  return nothing;
};

export const bool: Shape<boolean> = (value, at) => {
  if (typeof value !== 'boolean') at.wrong(value, 'true or false');
  return value as boolean;
};

/** A string that `pattern` matches; `wanted` describes it. */
export function matching(pattern: RegExp, wanted: string): Shape<string> {
  return (value, at) => {
    const found = text(value, at);
    if (typeof found === 'string' && !pattern.test(found)) at.wrong(found, wanted);
    return found;
  };
}

export const absolutePath: Shape<string> = matching(/^\//, 'an absolute path');
export const nonEmpty: Shape<string> = matching(/[^]/, 'a string that is not empty');

export function oneOf<const T extends string>(words: readonly T[]): Shape<T> {
  return (value, at) => {
    if (!(words as readonly unknown[]).includes(value)) at.wrong(value, `one of ${words.join(', ')}`);
    return value as T;
  };
}

/** An integer that fits a number exactly. */
export function integer(min: number, max: number): Shape<number> {
  return (value, at) => {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
      at.wrong(value, `an integer from ${min} to ${max}`);
    }
    return value as number;
  };
}

export const uint32: Shape<number> = integer(0, 0xffffffff);
export const uint16: Shape<number> = integer(0, 0xffff);
export const int32: Shape<number> = integer(-0x80000000, 0x7fffffff);

/** An integer of 64 bits: a number where that is exact, else a bigint (see parseExact). */
export function wide(min: bigint, max: bigint): Shape<number | bigint> {
  return (value, at) => {
    if (typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))) {
      const exact = BigInt(value);
      if (exact >= min && exact <= max) return Number.isSafeInteger(value) ? value : exact;
      // What JSON.parse made of 18446744073709551615 or 9223372036854775807: rounded up to a power of two.
      if (typeof value === 'number' && exact === max + 1n) return max;
    }
    at.wrong(value, `an integer from ${min} to ${max}`);
    return nothing;
  };
}

export const uint64: Shape<number | bigint> = wide(0n, 2n ** 64n - 1n);
export const int64: Shape<number | bigint> = wide(-(2n ** 63n), 2n ** 63n - 1n);

/** Bounds what hostile input can make us look at: no real document comes near. */
const maxEntries = 100_000;

export function list<T>(entry: Shape<T>, options: { min?: number; max?: number } = {}): Shape<readonly T[]> {
  const { min = 0, max = maxEntries } = options;
  return (value, at) => {
    if (!Array.isArray(value)) {
      at.wrong(value, 'an array');
      return nothing;
    }
    if (value.length < min || value.length > max) {
      at.report(`expected ${max === maxEntries ? `at least ${min}` : `${min} to ${max}`} entries, got ${value.length}`);
      return nothing;
    }
    return Object.freeze(value.map((v, i) => entry(v, at.index(i))));
  };
}

/** An object whose keys are data. */
export function record<T>(entry: Shape<T>, key: Shape<string> = text): Shape<Readonly<Record<string, T>>> {
  return (value, at) => {
    if (!isObject(value)) {
      at.wrong(value, 'an object');
      return nothing;
    }
    // Without a prototype, so that a key named __proto__ is a key like any other.
    const result = Object.create(null) as Record<string, T>;
    for (const [name, v] of Object.entries(value)) result[key(name, at.key(name))] = entry(v, at.key(name));
    return Object.freeze(result);
  };
}

interface RequiredField<T> {
  readonly shape: Shape<T>;
  readonly required: true;
  readonly fallback?: T;
}
interface OptionalField<T> {
  readonly shape: Shape<T>;
  readonly required: false;
  readonly emptyIsAbsent: boolean;
}

export function required<T>(shape: Shape<T>): RequiredField<T> {
  return { shape, required: true };
}

/** What may be left out of the document but is always there once read. */
export function withDefault<T>(shape: Shape<T>, fallback: T): RequiredField<T> {
  return { shape, required: true, fallback };
}

/** Absent, or null: Go programs write null for what is not there. */
export function optional<T>(shape: Shape<T>): OptionalField<T> {
  return { shape, required: false, emptyIsAbsent: false };
}

/** The same, and an empty string counts as absent: Go programs can't tell the two apart. */
export function optionalText<T extends string>(shape: Shape<T>): OptionalField<T> {
  return { shape, required: false, emptyIsAbsent: true };
}

/** One field per property of T: optional where the property is. */
export type Fields<T> = {
  readonly [K in keyof T]-?: Partial<Pick<T, K>> extends Pick<T, K>
    ? OptionalField<Exclude<T[K], undefined>>
    : RequiredField<T[K]>;
};

/**
 * An object with known properties; others are dropped (spec.md: extensibility). `section` is where the specification describes it;
 * `check` looks at what single properties can't say, and is called only when those are right.
 */
export function object<T extends object>(
  section: string,
  fields: Fields<T>,
  check?: (value: T, at: At) => void,
): Shape<T> {
  const entries = Object.entries<RequiredField<unknown> | OptionalField<unknown>>(fields);
  const names = new Map(entries.map(([name]) => [name.toLowerCase(), name]));
  return (value, outer) => {
    const at = section === '' ? outer : outer.within(section);
    if (!isObject(value)) {
      at.wrong(value, 'an object');
      return nothing;
    }
    const before = at.problems.length;
    const result: Record<string, unknown> = {};
    const given = withKnownNames(value, names);
    for (const [name, field] of entries) {
      const found = Object.hasOwn(given, name) ? given[name] : undefined;
      const absent = found === undefined || found === null || (!field.required && field.emptyIsAbsent && found === '');
      if (!absent) result[name] = field.shape(found, at.key(name));
      else if (field.required && field.fallback !== undefined) result[name] = field.fallback;
      else if (field.required) at.key(name).report('is missing');
    }
    if (at.problems.length === before) check?.(result as T, at);
    return Object.freeze(result) as T;
  };
}

/**
 * Callers that are used to Go's encoding/json write names in any case: `pagesize` is `pageSize`. What is there under several names is put
 * together, the last one counting.
 */
function withKnownNames(
  value: Record<string, unknown>,
  names: ReadonlyMap<string, string>,
): Readonly<Record<string, unknown>> {
  const nameOf = (key: string) => names.get(key.toLowerCase()) ?? key;
  if (Object.keys(value).every((key) => nameOf(key) === key)) return value;
  const result = Object.create(null) as Record<string, unknown>;
  for (const [key, given] of Object.entries(value)) {
    const before = result[nameOf(key)];
    result[nameOf(key)] = isObject(before) && isObject(given) ? { ...before, ...given } : given;
  }
  return result;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Reads a document, or throws `invalid-argument` naming the first problem, with all of them in `details.problems`. */
export function read<T>(shape: Shape<T>, value: unknown, options: { what: string; standard: string }): T {
  const problems: Problem[] = [];
  const result = shape(value, new At('', '', problems));
  const first = problems[0];
  if (first === undefined) return result;
  const where = first.path === '' ? '' : ` ${first.path}:`;
  const source = first.section === '' ? options.standard : `${options.standard}, ${first.section}`;
  const others = problems.length === 1 ? '' : `, and ${problems.length - 1} more`;
  throw new KeelsonError('invalid-argument', `${options.what}:${where} ${first.message} (${source})${others}`, {
    details: { problems },
  });
}

/** JSON.parse that keeps integers exact: those beyond 2^53 become bigints. Throws `invalid-argument`; `what` names the document. */
export function parseExact(json: string, what: string): unknown {
  try {
    // Only documents with a long number pay for the reviver.
    if (!/\d{16}/.test(json)) return JSON.parse(json);
    return JSON.parse(json, (_key, value: unknown, context?: { source?: string }) => {
      if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
      const source = context?.source ?? '';
      return /^-?\d{1,20}$/.test(source) ? BigInt(source) : value;
    });
  } catch (cause) {
    throw new KeelsonError('invalid-argument', `${what} is not JSON: ${(cause as Error).message}`, { cause });
  }
}

/** JSON.stringify that writes bigints as numbers. */
export function formatExact(value: unknown, indent?: number): string {
  return JSON.stringify(
    value,
    (_key, v: unknown) =>
      typeof v === 'bigint' ? (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(String(v)) : v,
    indent,
  );
}
