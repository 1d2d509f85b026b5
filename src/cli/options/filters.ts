import type { Filters } from '../../engine/types.ts';

/** Checks one `--filter`. */
export function checkFilter(text: string): string {
  if (!text.includes('=')) throw new Error('bad format of filter (expected name=value)');
  return text;
}

/** `--filter`s by their keys; several values of one are alternatives. */
export function splitFilters(filters: readonly string[]): Filters {
  const byKey: Record<string, string[]> = {};
  for (const filter of filters) {
    const equals = filter.indexOf('=');
    const key = filter.slice(0, equals).trim().toLowerCase();
    const values = (byKey[key] ??= []);
    values.push(filter.slice(equals + 1).trim());
  }
  return byKey;
}
