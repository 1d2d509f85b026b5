import { type Functions, defineFunction } from './functions.ts';
import { toJson } from '../../api/docker/json.ts';

function title(text: string): string {
  return text.replace(
    /(^|[^\p{L}\p{N}_])(\p{L})/gu,
    (_, before: string, letter: string) => before + letter.toUpperCase(),
  );
}

function pad(text: string, before: number, after: number): string {
  return text === '' ? '' : ' '.repeat(before) + text + ' '.repeat(after);
}

function truncate(text: string, length: number): string {
  if (length < 0) throw new Error(`runtime error: slice bounds out of range [:${length}]`);
  const bytes = Buffer.from(text);
  return bytes.length < length ? text : bytes.subarray(0, length).toString();
}

/** What docker adds to Go's functions. */
export const dockerFunctions: Functions = new Map(
  Object.entries({
    json: defineFunction(['any'], (value: unknown) => toJson(value)),
    split: defineFunction(['string', 'string'], (text: string, separator: string) =>
      separator === '' ? Array.from(text) : text.split(separator),
    ),
    join: defineFunction(['[]string', 'string'], (parts: readonly string[], separator: string) =>
      parts.join(separator),
    ),
    title: defineFunction(['string'], title),
    lower: defineFunction(['string'], (text: string) => text.toLowerCase()),
    upper: defineFunction(['string'], upper),
    pad: defineFunction(['string', 'int', 'int'], pad),
    truncate: defineFunction(['string', 'int'], truncate),
  }),
);

/** Character by character, as Go does: what has no single capital stays as it is. */
function upper(text: string): string {
  return Array.from(text, (char) => (Array.from(char.toUpperCase()).length === 1 ? char.toUpperCase() : char)).join('');
}

const same = (text: string): string => text;

/** The same names for a table's header row: a column's name isn't changed by what is done to its values. */
export const headerFunctions: Functions = new Map(
  Object.entries({
    json: defineFunction(['string'], same),
    title: defineFunction(['string'], same),
    lower: defineFunction(['string'], same),
    upper: defineFunction(['string'], same),
    split: defineFunction(['string', 'string'], same),
    join: defineFunction(['string', 'string'], same),
    pad: defineFunction(['string', 'int', 'int'], same),
    truncate: defineFunction(['string', 'int'], same),
  }),
);
