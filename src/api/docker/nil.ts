/**
 * Docker's documents tell apart what is null and what is empty, and a template sees whether a null stands for a slice, a map or a
 * pointer. In the shapes of this folder null is a pointer; these stand for the others, and JSON has null for all of them.
 * A Map is a Go map, which is written in the order of its keys; a plain object is a struct.
 */
export class Nil {
  readonly kind: 'slice' | 'map' | 'nil';

  constructor(kind: 'slice' | 'map' | 'nil') {
    this.kind = kind;
  }

  toJSON(): null {
    return null;
  }
}

export const nilSlice: Nil = new Nil('slice');
export const nilMap: Nil = new Nil('map');
export const nilPointer: Nil = new Nil('nil');

/** A list, or nil when there is none. */
export function listOrNil<T>(list: readonly T[] | undefined): readonly T[] | Nil {
  return list === undefined || list.length === 0 ? nilSlice : list;
}

/** A Go map of an object. */
export function mapOf<T>(object: Readonly<Record<string, T>> | undefined): Map<string, T> {
  return new Map(Object.entries(object ?? {}));
}

/** A Go map's entries in the order of its keys. */
export function sortedEntries<T>(map: ReadonlyMap<string, T>): (readonly [string, T])[] {
  return [...map.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1));
}
