import { Nil } from '../../api/docker/nil.ts';
import { sprint, sprintln, valueText } from './print.ts';
import { sprintf } from './printf.ts';
import { Float, elements, kindOf, truth, typeName } from './values.ts';

/** What a function takes: Go would check its argument against this. */
export type ParameterType = 'any' | 'string' | 'int' | '[]string';

export interface TemplateFunction {
  readonly parameters: readonly ParameterType[];
  /** The type of further arguments, where any number may follow. */
  readonly variadic?: ParameterType;
  /** Throws an Error whose message becomes `error calling name: …`. */
  readonly call: (...args: never[]) => unknown;
}

export type Functions = ReadonlyMap<string, TemplateFunction>;

function define(
  parameters: readonly ParameterType[],
  call: (...args: never[]) => unknown,
  variadic?: ParameterType,
): TemplateFunction {
  return variadic === undefined ? { parameters, call } : { parameters, call, variadic };
}

function asInt(value: unknown): bigint | undefined {
  return kindOf(value) === 'int' ? BigInt(value as number) : undefined;
}

function isNil(value: unknown): boolean {
  return value === undefined || value === null || value instanceof Nil;
}

function position(index: unknown, length: number): number {
  const at = asInt(index);
  if (at === undefined)
    throw new Error(
      isNil(index) ? 'cannot index slice/array with nil' : `cannot index slice/array with type ${typeName(index)}`,
    );
  if (at < 0n || at > BigInt(length)) throw new Error(`index out of range: ${at}`);
  return Number(at);
}

function indexOf(item: unknown, ...indexes: unknown[]): unknown {
  if (isNil(item) && !(item instanceof Nil && item.kind !== 'nil')) throw new Error('index of untyped nil');
  let value = item;
  for (const key of indexes) {
    switch (kindOf(value)) {
      case 'slice': {
        const list = elements(value);
        const at = position(key, list.length);
        if (at === list.length) throw new Error('reflect: slice index out of range');
        value = list[at];
        break;
      }
      case 'string': {
        const bytes = Buffer.from(value as string);
        const at = position(key, bytes.length);
        if (at === bytes.length) throw new Error('reflect: string index out of range');
        value = bytes[at];
        break;
      }
      case 'map': {
        if (typeof key !== 'string')
          throw new Error(
            isNil(key) ? 'value is nil; should be of type string' : `value has type ${typeName(key)}; should be string`,
          );
        const map = value as ReadonlyMap<string, unknown>;
        const found = value instanceof Map ? map.get(key) : undefined;
        const zero = value instanceof Nil ? '' : { 'map[string]string': '', 'map[string]int': 0 }[typeName(value)];
        value = found === undefined ? zero : found;
        break;
      }
      case 'invalid':
      case 'nil':
        throw new Error('index of nil pointer');
      default:
        throw new Error(`can't index item of type ${typeName(value)}`);
    }
  }
  return value;
}

function sliceOf(item: unknown, ...indexes: unknown[]): unknown {
  if (isNil(item) && !(item instanceof Nil && item.kind !== 'nil')) throw new Error('slice of untyped nil');
  if (indexes.length > 3) throw new Error(`too many slice indexes: ${indexes.length}`);
  const kind = kindOf(item);
  if (kind === 'string' && indexes.length === 3) throw new Error('cannot 3-index slice a string');
  if (kind !== 'string' && kind !== 'slice') throw new Error(`can't slice item of type ${typeName(item)}`);
  const bytes = kind === 'string' ? Buffer.from(item as string) : undefined;
  const length = bytes ? bytes.length : elements(item).length;
  const [from = 0, to = length, cap = length] = indexes.map((i) => position(i, length));
  if (from > to) throw new Error(`invalid slice index: ${from} > ${to}`);
  if (to > cap) throw new Error(`invalid slice index: ${to} > ${cap}`);
  return bytes ? bytes.subarray(from, to).toString() : elements(item).slice(from, to);
}

function lengthOf(item: unknown): number {
  switch (kindOf(item)) {
    case 'string':
      return Buffer.byteLength(item as string);
    case 'slice':
      return elements(item).length;
    case 'map':
      return item instanceof Map ? item.size : 0;
    case 'invalid':
      throw new Error('reflect: call of reflect.Value.Type on zero Value');
    case 'nil':
      throw new Error('len of nil pointer');
    default:
      throw new Error(`len of type ${typeName(item)}`);
  }
}

type Basic = 'bool' | 'int' | 'float' | 'string' | 'other';

function basicKind(value: unknown): Basic {
  const kind = kindOf(value);
  return kind === 'bool' || kind === 'int' || kind === 'float' || kind === 'string' ? kind : 'other';
}

function incompatible(a: unknown, b: unknown): Error {
  return new Error(`incompatible types for comparison: ${typeName(a)} and ${typeName(b)}`);
}

function equal(a: unknown, b: unknown): boolean {
  const kind = basicKind(a);
  if (kind !== basicKind(b)) {
    if (a === undefined || a === null || b === undefined || b === null) return false;
    throw incompatible(a, b);
  }
  switch (kind) {
    case 'int':
      return BigInt(a as number) === BigInt(b as number);
    case 'float':
      return (a as Float).value === (b as Float).value;
    case 'bool':
    case 'string':
      return a === b;
    default:
      if (isNil(a) || isNil(b)) return isNil(a) && isNil(b);
      for (const value of [a, b])
        if (kindOf(value) === 'slice' || kindOf(value) === 'map')
          throw new Error(`non-comparable type ${valueText(value)}: ${typeName(value)}`);
      return a === b;
  }
}

function eq(first: unknown, ...others: unknown[]): boolean {
  if (others.length === 0) throw new Error('missing argument for comparison');
  return others.some((other) => equal(first, other));
}

function lessThan(a: unknown, b: unknown): boolean {
  const kind = basicKind(a);
  if (kind === 'other' || basicKind(b) === 'other') throw new Error('invalid type for comparison');
  if (kind !== basicKind(b)) throw incompatible(a, b);
  switch (kind) {
    case 'int':
      return BigInt(a as number) < BigInt(b as number);
    case 'float':
      return (a as Float).value < (b as Float).value;
    case 'string':
      return Buffer.compare(Buffer.from(a as string), Buffer.from(b as string)) < 0;
    default:
      throw new Error('invalid type for comparison');
  }
}

const lessOrEqual = (a: unknown, b: unknown): boolean => lessThan(a, b) || equal(a, b);

/** The one text of a function's operands: a string as it is, everything else as print has it. */
function textOf(operands: readonly unknown[]): string {
  const [only] = operands;
  return operands.length === 1 && typeof only === 'string' ? only : sprint(operands);
}

const htmlEscapes: Readonly<Record<string, string>> = {
  '"': '&#34;',
  "'": '&#39;',
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '\0': '\uFFFD',
};

function html(...operands: unknown[]): string {
  return textOf(operands).replace(/["'&<>\0]/g, (char) => htmlEscapes[char] as string);
}

function js(...operands: unknown[]): string {
  return Array.from(textOf(operands))
    .map((char) => {
      const code = char.codePointAt(0) as number;
      if (char === '\\' || char === "'" || char === '"') return `\\${char}`;
      if ('<>&='.includes(char) || code < 0x20) return `\\u${code.toString(16).toUpperCase().padStart(4, '0')}`;
      if (code > 0x7f && !/[\p{L}\p{M}\p{N}\p{P}\p{S}]/u.test(char))
        return `\\u${code.toString(16).toUpperCase().padStart(4, '0')}`;
      return char;
    })
    .join('');
}

function urlquery(...operands: unknown[]): string {
  return encodeURIComponent(textOf(operands))
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+');
}

function callValue(fn: unknown, ...args: unknown[]): unknown {
  if (isNil(fn)) throw new Error('call of nil');
  if (typeof fn !== 'function') throw new Error(`non-function ${valueText(fn)} of type ${typeName(fn)}`);
  return (fn as (...a: unknown[]) => unknown)(...args);
}

/** The functions that every Go template has. `and` and `or` are special: the evaluator stops at the first argument that decides. */
export const builtins: Functions = new Map(
  Object.entries({
    and: define(['any'], () => undefined, 'any'),
    or: define(['any'], () => undefined, 'any'),
    not: define(['any'], (value: unknown) => !truth(value)),
    call: define(['any'], callValue, 'any'),
    html: define([], html, 'any'),
    js: define([], js, 'any'),
    urlquery: define([], urlquery, 'any'),
    index: define(['any'], indexOf, 'any'),
    slice: define(['any'], sliceOf, 'any'),
    len: define(['any'], lengthOf),
    print: define([], (...operands: unknown[]) => sprint(operands), 'any'),
    printf: define(['string'], (format: string, ...operands: unknown[]) => sprintf(format, operands), 'any'),
    println: define([], (...operands: unknown[]) => sprintln(operands), 'any'),
    eq: define(['any'], eq, 'any'),
    ne: define(['any', 'any'], (a: unknown, b: unknown) => !equal(a, b)),
    lt: define(['any', 'any'], lessThan),
    le: define(['any', 'any'], lessOrEqual),
    gt: define(['any', 'any'], (a: unknown, b: unknown) => !lessOrEqual(a, b)),
    ge: define(['any', 'any'], (a: unknown, b: unknown) => !lessThan(a, b)),
  }),
);

export { define as defineFunction };
