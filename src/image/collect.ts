import { Context } from '../ground/context.ts';
import type { Digest } from '../spec/digest.ts';
import type { ImageBackend } from './image-backend.ts';
import { neededBy, type Needs } from './needed-by.ts';

export interface Collected {
  readonly chains: readonly Digest[];
  readonly blobs: readonly Digest[];
  /** Bytes on disk. */
  readonly bytes: number;
}

/** How long blobs that no image needs, whole or partial, are kept for a next attempt to pull. */
const keepBlobsMs = 24 * 3600 * 1000;
/** And how many bytes of whole ones: the oldest go first. */
const keepBlobsBytes = 10 * 2 ** 30;

/**
 * Removes those of the candidates that neither an image nor a working process needs. Whatever is being worked with right now, or wanted by the time its
 * turn comes, stays.
 */
export async function collect(backend: ImageBackend, candidates: Needs): Promise<Collected> {
  const { tables, leases, snapshotter, store } = backend;
  const doing = 'removing unused layers';
  const chains: Digest[] = [];
  const blobs: Digest[] = [];
  let bytes = 0;
  for (const chain of new Set(candidates.chains)) {
    using lease = leases.tryAcquire(`chain:${chain}`, doing);
    // Needed or not is asked under the lease: who wants it holds it first and takes the lease then.
    if (lease === undefined || tables.isNeeded(chain) || !(await snapshotter.has(chain))) continue;
    bytes += (await snapshotter.usage(chain)).size;
    await snapshotter.remove(chain);
    chains.push(chain);
  }
  for (const blob of new Set(candidates.blobs)) {
    using lease = leases.tryAcquire(`blob:${blob}`, doing);
    const size = lease === undefined || tables.isNeeded(blob) ? undefined : await store.has(blob);
    if (size === undefined) continue;
    await store.remove(blob);
    blobs.push(blob);
    bytes += size;
  }
  tables.forgetBlobs(blobs);
  return { chains, blobs, bytes };
}

/**
 * Looks through everything: layers and blobs that nothing needs, images that were only kept for containers that are gone, what dead
 * processes left. `all` takes blobs too that were kept for a next attempt.
 */
export async function collectAll(backend: ImageBackend, options: { all?: boolean } = {}): Promise<Collected> {
  const { tables, leases, snapshotter, store } = backend;
  tables.held();
  leases.sweep();
  const unused = tables.db.immediate(() =>
    tables
      .hidden()
      .filter((id) => backend.users(id).length === 0)
      .map((id) => {
        const needs = neededBy(tables, id);
        tables.delete(id);
        return needs;
      }),
  );
  for (const needs of unused) await collect(backend, needs);
  await snapshotter.sweep();
  const swept = await sweepUnfinished(backend, options.all ? 0 : keepBlobsMs);
  const needed = tables.blobsInUse();
  const spare = (await store.list())
    .filter(({ digest }) => !needed.has(digest))
    .toSorted((a, b) => b.modifiedAt - a.modifiedAt);
  let kept = 0;
  const blobs = spare.filter(({ size, modifiedAt }) => {
    if (options.all || Date.now() - modifiedAt > keepBlobsMs || kept + size > keepBlobsBytes) return true;
    kept += size;
    return false;
  });
  const chainsNeeded = tables.chainsInUse();
  const chains = (await snapshotter.list()).filter((chain) => !chainsNeeded.has(chain));
  const done = await collect(backend, { chains, blobs: blobs.map(({ digest }) => digest) });
  return { ...done, bytes: done.bytes + swept };
}

async function sweepUnfinished({ store, leases }: ImageBackend, maxAgeMs: number): Promise<number> {
  let swept = 0;
  for (const file of await store.listUnfinished()) {
    const { digest, size, modifiedAt } = file;
    if (digest !== undefined && Date.now() - modifiedAt < maxAgeMs) continue;
    // Whoever downloads this blob has its lease.
    using lease = digest && leases.tryAcquire(`blob:${digest}`, 'removing unfinished downloads');
    if (digest !== undefined && lease === undefined) continue;
    await store.removeUnfinished(file);
    swept += size;
  }
  return swept;
}

/** After the death of a process in the middle of its work: puts in order what it left. Cheap when there was none. */
export async function recover(context: Context, backend: ImageBackend): Promise<void> {
  if (!backend.tables.held().lost) return;
  await context.span('recover images', async () => collectAll(backend));
}
