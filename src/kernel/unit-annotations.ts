/** Annotations `org.systemd.property.NAME`: properties of the container's unit, in GVariant's text format, as runc and crun take them. */
import { KeelsonError } from '../ground/errors.ts';
import type { DbusValue } from './dbus-wire.ts';
import type { UnitProperty } from './systemd-unit.ts';

const prefix = 'org.systemd.property.';

export function annotatedProperties(annotations: Readonly<Record<string, string>>): readonly UnitProperty[] {
  return Object.entries(annotations)
    .filter(([key]) => key.startsWith(prefix))
    .map(([key, text]) => property(key, text));
}

function property(key: string, text: string): UnitProperty {
  const name = key.slice(prefix.length);
  const refuse = (why: string) => new KeelsonError('invalid-argument', `annotations[${JSON.stringify(key)}]: ${why}`);
  if (!/^[A-Za-z]{3,128}$/.test(name)) throw refuse(`${name} is not the name of a unit's property`);
  const parsed = parseVariant(text);
  if (!parsed) throw refuse(`${JSON.stringify(text)} is not a value in GVariant's text format`);
  // What unit files know in seconds, D-Bus knows in microseconds.
  const seconds = /^(.*[a-z])Sec$/.exec(name)?.[1];
  if (seconds === undefined) return { name, ...parsed };
  const { type, value } = parsed;
  if (!'ynqiuxtd'.includes(type)) throw refuse(`${JSON.stringify(text)} is not a number of seconds`);
  return { name: `${seconds}USec`, type: 't', value: BigInt(Math.round(Number(value) * 1e6)) };
}

type Typed = { readonly type: string; readonly value: DbusValue };

const typeWords: Readonly<Record<string, string>> = {
  ...{ byte: 'y', boolean: 'b', int16: 'n', uint16: 'q', int32: 'i', uint32: 'u', int64: 'x', uint64: 't' },
  ...{ double: 'd', string: 's', objectpath: 'o', signature: 'g' },
};

/** Scalars, with their type in front or without, and arrays of them: `'a'`, `uint64 5`, `['a', 'b']`, `@as []`. Undefined for anything else. */
export function parseVariant(text: string): Typed | undefined {
  const trimmed = text.trim();
  const array = /^(?:@a([a-z])\s+)?\[(.*)\]$/s.exec(trimmed);
  if (!array) return scalar(trimmed);
  const [, given, content = ''] = array;
  const items = content.trim() === '' ? [] : content.match(/'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^,]+/g);
  const parsed = (items ?? []).filter((item) => item.trim() !== '').map((item) => scalar(item.trim()));
  const type = given ?? parsed[0]?.type;
  if (type === undefined || parsed.some((one) => one === undefined)) return undefined;
  if (given === undefined && parsed.some((one) => one?.type !== type)) return undefined;
  return { type: `a${type}`, value: parsed.map((one) => (one as Typed).value) };
}

function scalar(text: string): Typed | undefined {
  const [, word, rest] = /^(?:([a-z]+\d*)\s+)?(.*)$/s.exec(text) ?? [];
  const type = word === undefined ? undefined : typeWords[word];
  if (rest === undefined || (word !== undefined && type === undefined)) return undefined;
  const quoted = /^(?:'((?:\\.|[^'\\])*)'|"((?:\\.|[^"\\])*)")$/s.exec(rest);
  if (quoted) {
    if (type !== undefined && !'sog'.includes(type)) return undefined;
    return { type: type ?? 's', value: (quoted[1] ?? quoted[2] ?? '').replace(/\\(.)/gs, '$1') };
  }
  if (rest === 'true' || rest === 'false') return { type: 'b', value: rest === 'true' };
  if (!/^[+-]?(0x[0-9a-f]+|\d+(\.\d+)?)$/i.test(rest)) return undefined;
  const known = type ?? (rest.includes('.') ? 'd' : 'i');
  if ('sogb'.includes(known)) return undefined;
  return { type: known, value: known === 'x' || known === 't' ? BigInt(rest) : Number(rest) };
}
