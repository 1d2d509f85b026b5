import { KeelsonError } from '../ground/errors.ts';
import type { Digest } from '../spec/digest.ts';
import type { ImageRow } from '../store/images.ts';
import { findImage } from './find-image.ts';
import type { ImageBackend } from './image-backend.ts';
import { familiarReference } from './reference.ts';
import type { ImageSummary } from './types.ts';

/** docker's `--filter key=value` for images; several values of a key are alternatives, labels must all match. */
export type ImageFilters = Readonly<Record<string, readonly string[]>>;

const known = ['dangling', 'label', 'label!', 'before', 'since', 'reference', 'until'];

/** Images, newest first. */
export function listImages(backend: ImageBackend, filters: ImageFilters = {}): ImageSummary[] {
  const { tables } = backend;
  return tables.db.immediate(() => {
    const keep = predicate(backend, filters);
    const names = Map.groupBy(tables.names(), ({ imageId }) => imageId);
    const sizes = tables.unpackedSizes();
    const images: ImageSummary[] = [];
    for (const row of tables.all()) {
      const own = (names.get(row.id) ?? []).map(({ name }) => name);
      const shown = matchingNames(own, filters['reference'] ?? []);
      if (shown === undefined || !keep(row, own)) continue;
      images.push(summary(row, shown, sizes.get(row.id) ?? 0));
    }
    return images;
  });
}

export function summary(row: ImageRow, names: readonly string[], size: number): ImageSummary & { readonly id: Digest } {
  const { id, createdAt, labels } = row;
  const digests = names.filter((name) => name.includes('@'));
  return { id, tags: names.filter((name) => !name.includes('@')), digests, createdAt, size, labels };
}

/** The names that a `reference` filter lets through; undefined when it lets none. */
function matchingNames(names: readonly string[], patterns: readonly string[]): readonly string[] | undefined {
  if (patterns.length === 0) return names;
  const globs = patterns.map(globToRegExp);
  const left = names.filter((name) => {
    const familiar = familiarReference(name);
    const bare = familiar.replace(/(@.*|:[^/:]*)$/, '');
    return globs.some((glob) => glob.test(familiar) || glob.test(bare) || glob.test(name));
  });
  return left.length > 0 ? left : undefined;
}

function predicate(backend: ImageBackend, filters: ImageFilters): (row: ImageRow, names: readonly string[]) => boolean {
  for (const key of Object.keys(filters)) {
    if (!known.includes(key)) throw new KeelsonError('invalid-argument', `invalid filter '${key.slice(0, 100)}'`);
  }
  const dangling = booleans('dangling', filters['dangling'] ?? []);
  const createdAt = (text: string): number => backend.tables.get(findImage(backend.tables, text).id)?.createdAt ?? 0;
  const before = (filters['before'] ?? []).map(createdAt);
  const since = (filters['since'] ?? []).map(createdAt);
  const until = (filters['until'] ?? []).map(instant);
  const wanted = (filters['label'] ?? []).map(labelOf);
  const unwanted = (filters['label!'] ?? []).map(labelOf);
  const has = (row: ImageRow, [key, value]: [string, string | undefined]): boolean =>
    Object.hasOwn(row.labels, key) && (value === undefined || row.labels[key] === value);
  return (row, names) =>
    (dangling === undefined || dangling === !names.some((name) => !name.includes('@'))) &&
    before.every((time) => row.createdAt < time) &&
    since.every((time) => row.createdAt > time) &&
    until.every((time) => row.createdAt < time) &&
    wanted.every((label) => has(row, label)) &&
    !unwanted.some((label) => has(row, label));
}

function labelOf(text: string): [string, string | undefined] {
  const at = text.indexOf('=');
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

function booleans(key: string, values: readonly string[]): boolean | undefined {
  const words: Record<string, boolean> = { true: true, '1': true, t: true, false: false, '0': false, f: false };
  const read = values.map((value) => {
    const word = words[value.toLowerCase()];
    if (word === undefined)
      throw new KeelsonError('invalid-argument', `invalid filter '${key}=${value.slice(0, 100)}'`);
    return word;
  });
  return read.every((value) => value === read[0]) ? read[0] : undefined;
}

/** An RFC 3339 time, seconds since the epoch, or a duration ago (`24h`, `1h30m`). */
function instant(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (/^(\d+(\.\d+)?(h|m|s|ms))+$/.test(text)) {
    const units: Record<string, number> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };
    let ago = 0;
    for (const [, count, unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g))
      ago += Number(count) * (units[unit] ?? 0);
    return Date.now() - ago;
  }
  const at = Date.parse(text);
  if (Number.isNaN(at)) throw new KeelsonError('invalid-argument', `invalid filter 'until=${text.slice(0, 100)}'`);
  return at;
}

/** `*` and `?` don't cross a slash, as in Go's path.Match. */
function globToRegExp(glob: string): RegExp {
  if (glob.length > 512) throw new KeelsonError('invalid-argument', 'a reference filter is too long');
  // Stars in a row are one: more would only make the matching slow.
  const source = glob.replaceAll(/\*+/g, '*').replaceAll(/[.+^${}()|\\]/g, String.raw`\$&`);
  try {
    return new RegExp(`^${source.replaceAll('*', '[^/]*').replaceAll('?', '[^/]')}$`);
  } catch (cause) {
    throw new KeelsonError('invalid-argument', `${JSON.stringify(glob)} is not a pattern`, { cause });
  }
}
