import type { Context } from '../ground/context.ts';
import type { Parts } from './parts.ts';
import type { DiffEntry } from './types.ts';
import { current } from './with-container.ts';

/** What the container has changed in its image's files. */
export async function diff(parts: Parts, context: Context, reference: string): Promise<readonly DiffEntry[]> {
  const record = await current(parts, context, reference);
  return parts.images.changes(context, record.id, record.imageId);
}
