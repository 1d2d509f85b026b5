import { KeelsonError } from '../ground/errors.ts';
import { collectAll } from './collect.ts';
import type { ImageBackend } from './image-backend.ts';
import { familiarReference } from './reference.ts';
import { type ImageFilters, listImages } from './list-images.ts';
import type { Removal } from './remove-image.ts';

/** docker's `image prune`: images without a name, or with `all` (or `dangling=false`) all that no container uses. */
export async function pruneImages(
  backend: ImageBackend,
  options: { all?: boolean; filters?: ImageFilters } = {},
): Promise<{ removals: readonly Removal[]; bytes: number }> {
  const { tables } = backend;
  const { dangling, ...filters } = options.filters ?? {};
  for (const key of Object.keys(filters)) {
    if (!['label', 'label!', 'until'].includes(key))
      throw new KeelsonError('invalid-argument', `invalid filter '${key}'`);
  }
  const all = options.all === true || (dangling ?? []).some((word) => /^(false|0|f)$/i.test(word));
  const removals: Removal[] = [];
  tables.db.immediate(() => {
    for (const { id, tags, digests } of listImages(backend, filters)) {
      if ((!all && tags.length > 0) || backend.users(id).length > 0) continue;
      for (const name of [...tags, ...digests]) removals.push({ untagged: familiarReference(name) });
      removals.push({ deleted: id as `sha256:${string}` });
      tables.delete(id);
    }
  });
  const { chains, bytes } = await collectAll(backend, { all: true });
  return { removals: [...removals, ...chains.map((deleted) => ({ deleted }))], bytes };
}
