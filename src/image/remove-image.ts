import { KeelsonError } from '../ground/errors.ts';
import { type Digest, shortDigest } from '../spec/digest.ts';
import type { ImageTables } from '../store/images.ts';
import { findImage } from './find-image.ts';
import type { ImageBackend, ImageUser } from './image-backend.ts';
import { neededBy, type Needs } from './needed-by.ts';
import { familiarReference, parseReference, repositoryOf } from './reference.ts';
import { collect, collectAll } from './collect.ts';

/** One line of what `rmi` prints. */
export type Removal = { readonly untagged: string } | { readonly deleted: Digest };

/**
 * Removes a name, or an image with all its names, by docker's rules: a name that isn't the last goes alone; an image in use stays unless forced, and
 * one that a running container uses stays in any case. Layers and blobs that nothing else needs go with it.
 */
export async function removeImage(
  backend: ImageBackend,
  text: string,
  options: { force?: boolean } = {},
): Promise<Removal[]> {
  const { tables } = backend;
  const force = options.force === true;
  const removals: Removal[] = [];
  const gone = tables.db.immediate(() => {
    const found = findImage(tables, text);
    const names = tables.names(found.id).map(({ name }) => name);
    if (found.name === undefined) return removeById(backend, found.id, names, force, removals);
    return removeByName(backend, found.id, found.name, names, force, removals);
  });
  if (gone) {
    const { chains } = await collect(backend, gone);
    removals.push(...chains.map((deleted) => ({ deleted })));
    await collectAll(backend);
  }
  return removals;
}

function removeByName(
  backend: ImageBackend,
  id: Digest,
  name: string,
  names: readonly string[],
  force: boolean,
  removals: Removal[],
): Needs | undefined {
  const { tables } = backend;
  const users = backend.users(id);
  const [user] = users;
  if (!force && user !== undefined && isSingle(names)) {
    throw new KeelsonError(
      'conflict',
      `conflict: unable to remove repository reference "${familiarReference(name)}" (must force) - container ${user.id.slice(0, 12)} is using its referenced image ${shortDigest(id)}`,
    );
  }
  untag(tables, name, removals);
  const others = names.filter((each) => each !== name);
  // The digests that came with a repository's tags go with the last of these.
  const repository = repositoryOf(parseReference(name));
  const sameRepository = others.filter((each) => repositoryOf(parseReference(each)) === repository);
  const left = sameRepository.every(isDigested) && !isDigested(name) ? sameRepository : [];
  for (const each of left) untag(tables, each, removals);
  if (others.length > left.length) return undefined;
  // The names were what was asked for; the image stays for who runs it.
  if (users.some(({ running }) => running)) return undefined;
  return deleteImage(backend, id, users, removals);
}

function removeById(
  backend: ImageBackend,
  id: Digest,
  names: readonly string[],
  force: boolean,
  removals: Removal[],
): Needs {
  const users = backend.users(id);
  const refuse = (can: string, why: string): never => {
    throw new KeelsonError('conflict', `conflict: unable to delete ${shortDigest(id)} (${can}) - ${why}`);
  };
  const running = users.find((each) => each.running);
  if (running) refuse('cannot be forced', `image is being used by running container ${running.id.slice(0, 12)}`);
  if (!force && names.length > 0 && !isSingle(names)) {
    refuse('must be forced', 'image is referenced in multiple repositories');
  }
  const [stopped] = users;
  if (!force && stopped)
    refuse('must be forced', `image is being used by stopped container ${stopped.id.slice(0, 12)}`);
  for (const name of names) untag(backend.tables, name, removals);
  return deleteImage(backend, id, users, removals);
}

function deleteImage(backend: ImageBackend, id: Digest, users: readonly ImageUser[], removals: Removal[]): Needs {
  const { tables } = backend;
  const gone = neededBy(tables, id);
  if (users.length > 0) tables.hide(id);
  else tables.delete(id);
  removals.push({ deleted: id });
  return gone;
}

function untag(tables: ImageTables, name: string, removals: Removal[]): void {
  tables.unname(name);
  removals.push({ untagged: familiarReference(name) });
}

function isDigested(name: string): boolean {
  return name.includes('@');
}

/** One name, or one tag with digests of its own repository. */
function isSingle(names: readonly string[]): boolean {
  if (names.length <= 1) return names.length === 1;
  const repositories = new Set(names.map((name) => repositoryOf(parseReference(name))));
  return repositories.size === 1 && names.filter((name) => !isDigested(name)).length <= 1;
}
