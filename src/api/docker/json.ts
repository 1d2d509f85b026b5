import { Nil, sortedEntries } from './nil.ts';

/**
 * JSON as Go's encoding/json writes it: maps in the order of their keys, bigints as numbers, U+2028 and U+2029 escaped. An object
 * that has a property `escapesHtml` is written with <, > and & escaped.
 */
export function toJson(
  value: unknown,
  options: { readonly indent?: string; readonly escapeHtml?: boolean } = {},
): string {
  const { indent = '', escapeHtml = false } = options;
  return encode(value, indent, '', escapeHtml);
}

function quote(text: string, escapeHtml: boolean): string {
  const quoted = JSON.stringify(text).replace(/[\u2028\u2029]/g, (c) => (c === '\u2028' ? '\\u2028' : '\\u2029'));
  if (!escapeHtml) return quoted;
  return quoted.replace(/[<>&]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`);
}

function encode(value: unknown, indent: string, margin: string, escapeHtml: boolean): string {
  if (value === null || value === undefined || value instanceof Nil) return 'null';
  if (typeof value === 'string') return quote(value, escapeHtml);
  if (typeof value !== 'object') return `${value as number | bigint | boolean}`;
  const inner = margin + indent;
  const wrap = (open: string, parts: readonly string[], close: string): string => {
    if (parts.length === 0) return open + close;
    return indent === ''
      ? open + parts.join(',') + close
      : `${open}\n${parts.map((part) => inner + part).join(',\n')}\n${margin}${close}`;
  };
  if (Array.isArray(value))
    return wrap(
      '[',
      value.map((element) => encode(element, indent, inner, escapeHtml)),
      ']',
    );
  const escape = escapeHtml || 'escapesHtml' in value;
  let pairs: readonly (readonly [string, unknown])[];
  if (value instanceof Map) pairs = sortedEntries(value as Map<string, unknown>);
  else {
    const plain = 'toJSON' in value ? (value as { toJSON(): unknown }).toJSON() : value;
    if (typeof plain !== 'object' || plain === null) return encode(plain, indent, margin, escape);
    pairs = Object.entries(plain).filter(([, v]) => v !== undefined);
  }
  const colon = indent === '' ? ':' : ': ';
  return wrap(
    '{',
    pairs.map(([key, v]) => quote(key, escape) + colon + encode(v, indent, inner, escape)),
    '}',
  );
}
