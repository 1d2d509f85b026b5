import { Nil, nilPointer, sortedEntries } from '../../api/docker/nil.ts';

/**
 * Go's values, as far as templates can tell them apart, in JavaScript:
 *
 * | Go                         | here                                            |
 * |----------------------------|-------------------------------------------------|
 * | bool, string               | boolean, string                                 |
 * | int, int64, uint64         | number without fraction, bigint                 |
 * | float64                    | Float                                           |
 * | slice                      | array                                           |
 * | map[string]…               | Map; iterated and printed in the order of keys  |
 * | struct (or pointer to one) | plain object, fields in order; or a View        |
 * | nil slice, nil map         | nilSlice, nilMap                                |
 * | nil pointer                | nilPointer; null in a struct                    |
 * | nil interface              | null elsewhere                                  |
 * | no value at all            | undefined                                       |
 */

export class Float {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }

  toJSON(): number {
    return this.value;
  }
}

/** A struct whose fields are computed when they are asked for, and which may have methods with arguments. */
export class View {
  /** As error messages name it: `*formatter.ContainerContext`. */
  readonly typeName: string;
  readonly escapesHtml = true;
  readonly fields: Readonly<Record<string, () => unknown>>;
  readonly methods: Readonly<Record<string, (...args: string[]) => unknown>>;

  constructor(
    type: string,
    fields: Readonly<Record<string, () => unknown>>,
    methods: Readonly<Record<string, (...args: string[]) => unknown>> = {},
  ) {
    this.typeName = type;
    this.fields = fields;
    this.methods = methods;
  }

  toJSON(): Record<string, unknown> {
    const names = Object.keys(this.fields).toSorted();
    return Object.fromEntries(names.map((name) => [name, (this.fields[name] as () => unknown)()]));
  }
}

export type Kind = 'invalid' | 'nil' | 'bool' | 'string' | 'int' | 'float' | 'slice' | 'map' | 'struct' | 'function';

export function kindOf(value: unknown): Kind {
  switch (typeof value) {
    case 'undefined':
      return 'invalid';
    case 'boolean':
      return 'bool';
    case 'string':
      return 'string';
    case 'number':
    case 'bigint':
      return 'int';
    case 'function':
      return 'function';
    default:
  }
  if (value === null) return 'nil';
  if (value instanceof Float) return 'float';
  if (value instanceof Nil) return value.kind;
  if (Array.isArray(value)) return 'slice';
  if (value instanceof Map) return 'map';
  return 'struct';
}

const namesByKind = {
  invalid: '<nil>',
  nil: 'interface {}',
  bool: 'bool',
  string: 'string',
  int: 'int',
  float: 'float64',
  slice: '[]interface {}',
  map: 'map[string]interface {}',
  struct: 'struct',
  function: 'func',
} as const;

/** What `%T` and error messages call the type. */
export function typeName(value: unknown): string {
  const kind = kindOf(value);
  if (value instanceof View) return value.typeName;
  if (kind === 'slice' && Array.isArray(value) && value.length > 0) {
    const kinds = new Set(value.map(kindOf));
    if (kinds.size === 1) {
      if (kinds.has('string')) return '[]string';
      if (kinds.has('int')) return '[]int';
    }
  }
  if (kind === 'map' && value instanceof Map && value.size > 0) {
    const kinds = new Set([...value.values()].map(kindOf));
    if (kinds.size === 1) {
      if (kinds.has('string')) return 'map[string]string';
      if (kinds.has('int')) return 'map[string]int';
    }
  }
  return namesByKind[kind];
}

/** The elements of a slice or nil slice. */
export function elements(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** A map's entries in the order of their keys, as Go prints, ranges over and encodes them. */
export function entries(value: unknown): readonly (readonly [string, unknown])[] {
  if (!(value instanceof Map)) return [];
  return sortedEntries(value as Map<string, unknown>);
}

/** A struct's field names in order. */
export function fieldNames(value: unknown): readonly string[] {
  return value instanceof View ? Object.keys(value.fields) : Object.keys(value as object);
}

/** Go's field names where the JSON name, which the document uses, is spelled differently. */
const goNames: Readonly<Record<string, readonly string[]>> = {
  ID: ['Id', 'id'],
  OS: ['Os'],
  OSVersion: ['OsVersion'],
  HostIP: ['HostIp'],
  DNS: ['Dns'],
  DNSOptions: ['DnsOptions'],
  DNSSearch: ['DnsSearch'],
  NanoCPUs: ['NanoCpus'],
  CPUShares: ['CpuShares'],
  CPUPeriod: ['CpuPeriod'],
  CPUQuota: ['CpuQuota'],
  CPURealtimePeriod: ['CpuRealtimePeriod'],
  CPURealtimeRuntime: ['CpuRealtimeRuntime'],
  CPUCount: ['CpuCount'],
  CPUPercent: ['CpuPercent'],
  Status: ['status'],
  From: ['from'],
  Scope: ['scope'],
  Time: ['time'],
  TimeNano: ['timeNano'],
};

/** A field of a struct; undefined when there is none of that name. */
export function field(value: object, name: string): { readonly value: unknown } | undefined {
  if (value instanceof View) {
    const get = Object.hasOwn(value.fields, name) ? value.fields[name] : undefined;
    return get && { value: get() ?? nilPointer };
  }
  const fields = value as Record<string, unknown>;
  if (Object.hasOwn(fields, name)) return { value: fields[name] ?? nilPointer };
  const known = Object.hasOwn(goNames, name) ? goNames[name]?.find((other) => Object.hasOwn(fields, other)) : undefined;
  return known === undefined ? undefined : { value: fields[known] ?? nilPointer };
}

/** Go's notion of truth: neither zero nor empty. */
export function truth(value: unknown): boolean {
  switch (kindOf(value)) {
    case 'invalid':
    case 'nil':
      return false;
    case 'bool':
      return value as boolean;
    case 'int':
      return BigInt(value as number) !== 0n;
    case 'float':
      return (value as Float).value !== 0;
    case 'string':
      return value !== '';
    case 'slice':
      return elements(value).length > 0;
    case 'map':
      return value instanceof Map && value.size > 0;
    default:
      return true;
  }
}
