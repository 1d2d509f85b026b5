import { KeelsonError } from '../ground/errors.ts';
import { printable } from './names.ts';
import type { Filters } from './types.ts';
import { splitOnce } from './validate.ts';

/** Throws docker's error for a filter that the command doesn't know. */
export function checkFilters(filters: Filters, known: readonly string[]): void {
  const unknown = Object.keys(filters).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new KeelsonError('invalid-argument', `invalid filter '${printable(unknown)}'`);
}

/** True when the filter isn't given, or one of its values satisfies `test`. */
export function anyOf(filters: Filters, key: string, test: (value: string) => boolean): boolean {
  const values = filters[key];
  return values === undefined || values.length === 0 || values.some(test);
}

/** `label=key` or `label=key=value`; unlike other filters, all of them must match. */
export function matchesLabels(filters: Filters, labels: Readonly<Record<string, string>>, key = 'label'): boolean {
  return (filters[key] ?? []).every((wanted) => hasLabel(labels, wanted));
}

/** `label!=…`: none of them may match. */
export function matchesNoLabel(filters: Filters, labels: Readonly<Record<string, string>>): boolean {
  return !(filters['label!'] ?? []).some((unwanted) => hasLabel(labels, unwanted));
}

function hasLabel(labels: Readonly<Record<string, string>>, wanted: string): boolean {
  const [name, value] = splitOnce(wanted, '=');
  return Object.hasOwn(labels, name) && (value === undefined || labels[name] === value);
}

/** The name filter: a regular expression anywhere in the name, plain text where it isn't a valid one. */
export function matchesName(pattern: string, name: string): boolean {
  if (name === pattern || name === pattern.replace(/^\//, '')) return true;
  if (pattern.length > 256) return false;
  try {
    return new RegExp(pattern.replace(/^\^?\//, (m) => m.replace('/', '/?'))).test(name);
  } catch {
    return name.includes(pattern);
  }
}

/** `true`/`1` and `false`/`0`; throws docker's error for other words. */
export function booleanFilter(filters: Filters, key: string): boolean | undefined {
  const values = (filters[key] ?? []).map((word) => {
    if (['1', 'true', 'TRUE', 'True', 't', 'T'].includes(word)) return true;
    if (['0', 'false', 'FALSE', 'False', 'f', 'F'].includes(word)) return false;
    throw new KeelsonError('invalid-argument', `invalid filter '${key}=[${printable(word)}]'`);
  });
  if (new Set(values).size > 1)
    throw new KeelsonError('invalid-argument', `invalid filter '${key}': true and false at once`);
  return values[0];
}
