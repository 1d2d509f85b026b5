import { KeelsonError } from '../ground/errors.ts';
import { type Digest, isDigest } from '../spec/digest.ts';
import type { ImageTables } from '../store/images.ts';
import { formatReference, parseReference, repositoryOf } from './reference.ts';

/** How a user named an image: the name as it is stored, or nothing where it was (part of) an id. */
export interface FoundImage {
  readonly id: Digest;
  readonly name?: string;
}

/** Finds an image as docker does: by a whole id, by name (tag or digest), by the beginning of an id. Throws `not-found`, or `invalid-argument` for what is ambiguous. */
export function findImage(tables: ImageTables, text: string): FoundImage {
  const found = lookUp(tables, text);
  if (found) return found;
  throw new KeelsonError('not-found', `No such image: ${shown(text)}`);
}

function lookUp(tables: ImageTables, text: string): FoundImage | undefined {
  const hex = /^(?:sha256:)?([0-9a-f]{1,64})$/.exec(text)?.[1];
  if (hex?.length === 64)
    return isDigest(`sha256:${hex}`) && tables.get(`sha256:${hex}`) ? { id: `sha256:${hex}` } : undefined;
  if (!text.startsWith('sha256:')) {
    const name = storedName(text);
    const id = tables.byName(name);
    if (id !== undefined) return { id, name };
  }
  const [id, another] = hex === undefined ? [] : tables.byPrefix(hex);
  if (another !== undefined) {
    throw new KeelsonError('invalid-argument', `multiple IDs found with provided prefix: ${text}`);
  }
  return id === undefined ? undefined : { id };
}

/** A reference with a digest is stored by that, without its tag. */
function storedName(text: string): string {
  const reference = parseReference(text);
  return reference.digest === undefined ? formatReference(reference) : `${repositoryOf(reference)}@${reference.digest}`;
}

function shown(text: string): string {
  return /^[0-9a-f]{64}$/.test(text) || /[:@]/.test(text.slice(text.lastIndexOf('/') + 1)) ? text : `${text}:latest`;
}
