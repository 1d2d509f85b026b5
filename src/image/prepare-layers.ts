import type { Context, ProgressEvent } from '../ground/context.ts';
import { together } from '../ground/together.ts';
import { type Digest, shortDigest } from '../spec/digest.ts';
import type { Descriptor } from '../spec/image.ts';
import type { LayerRow } from '../store/images.ts';
import { chainIds } from './chain-ids.ts';
import type { ImageBackend } from './image-backend.ts';

export interface LayerPlan {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  readonly chainId: Digest;
  readonly parent: Digest | undefined;
}

/** What is told of a layer's stages; a stage without a word is not told. */
export interface LayerWords {
  readonly queued?: string;
  readonly unpacking?: string;
  readonly unpacked?: string;
  readonly there?: string;
}

export const pullWords: LayerWords = {
  queued: 'Pulling fs layer',
  unpacking: 'Extracting',
  unpacked: 'Pull complete',
  there: 'Already exists',
};

/** A terminal doesn't show more, and a socket needn't carry it. */
const progressEveryMs = 100;

export function planLayers(descriptors: readonly Descriptor[], diffIds: readonly Digest[]): LayerPlan[] {
  const chain = chainIds(diffIds);
  return descriptors.map((descriptor, i) => ({
    descriptor,
    diffId: diffIds[i] as Digest,
    chainId: chain[i] as Digest,
    parent: chain[i - 1],
  }));
}

/**
 * Sees to it that every layer's blob is in the store (by `fetch`, called where one is missing and with its lease held) and unpacked. Layers go side by side.
 * The caller holds all their digests and chain ids. Throws the first failure, after all work has ended.
 */
export async function prepareLayers(
  context: Context,
  backend: ImageBackend,
  layers: readonly LayerPlan[],
  fetch: (context: Context, blob: Descriptor, progress: (current: number) => void) => Promise<void>,
  doing: string,
  words: LayerWords,
): Promise<LayerRow[]> {
  for (const { descriptor } of layers) tell(context, descriptor, words.queued);
  const fetched = new Map<Digest, Promise<void>>();
  const ready = new Map(layers.map(({ chainId }) => [chainId, Promise.withResolvers<void>()]));
  for (const { promise } of ready.values()) promise.catch(() => {}); // told by the task itself
  return together(
    context,
    layers.map((layer) => async (inner: Context) => {
      const { descriptor, chainId } = layer;
      const settled = ready.get(chainId);
      try {
        // The same blob may be several layers: fetched once.
        let blob = fetched.get(descriptor.digest);
        if (blob === undefined) {
          blob = fetchBlob(inner, backend, descriptor, fetch, doing);
          fetched.set(descriptor.digest, blob);
        }
        await blob;
        if (backend.snapshotter.needsParent && layer.parent !== undefined) await ready.get(layer.parent)?.promise;
        const row = await unpack(inner, backend, layer, doing, words);
        settled?.resolve();
        return row;
      } catch (error) {
        settled?.reject(error);
        throw error;
      }
    }),
  );
}

async function fetchBlob(
  context: Context,
  backend: ImageBackend,
  blob: Descriptor,
  fetch: (context: Context, blob: Descriptor, progress: (current: number) => void) => Promise<void>,
  doing: string,
): Promise<void> {
  const { leases, store, downloads } = backend;
  const isHere = async (): Promise<boolean> => (await store.has(blob.digest)) !== undefined;
  const download = async (): Promise<void> => {
    using _lease = await leases.acquire(context, `blob:${blob.digest}`, doing);
    if (await isHere()) return;
    const progress = teller(context, blob, 'Downloading');
    await context.span(`download ${shortDigest(blob.digest)}`, async () =>
      fetch(context, blob, (current) => {
        progress(current);
        if (current === blob.size) tell(context, blob, 'Verifying Checksum');
      }),
    );
    tell(context, blob, 'Download complete');
  };
  // What is here needs no turn, but is looked at again under its lease.
  if (await isHere()) return download();
  return downloads.use(context, doing, download, () => tell(context, blob, 'Waiting'));
}

async function unpack(
  context: Context,
  backend: ImageBackend,
  layer: LayerPlan,
  doing: string,
  words: LayerWords,
): Promise<LayerRow> {
  const { leases, snapshotter, store, tables, unpacks } = backend;
  const { descriptor, chainId, diffId, parent } = layer;
  const row = { diffId, chainId, digest: descriptor.digest, mediaType: descriptor.mediaType, size: descriptor.size };
  return unpacks.use(context, doing, async () => {
    using _lease = await leases.acquire(context, `chain:${chainId}`, doing);
    if (await snapshotter.has(chainId)) {
      tell(context, descriptor, words.there);
      return { ...row, unpacked: tables.unpackedSize(chainId) ?? (await snapshotter.usage(chainId)).size };
    }
    const { size } = await context.span(`unpack ${shortDigest(descriptor.digest)}`, async () =>
      snapshotter.prepareLayer(context, {
        ...{ chainId, diffId, ...(parent !== undefined && { parent }) },
        blob: store.path(descriptor.digest),
        doing: `${doing}: unpacking layer ${shortDigest(descriptor.digest)}`,
        progress: teller(context, descriptor, words.unpacking),
      }),
    );
    tell(context, descriptor, words.unpacked);
    return { ...row, unpacked: size };
  });
}

function tell(context: Context, blob: Descriptor, status: string | undefined, rest: Partial<ProgressEvent> = {}): void {
  if (status === undefined) return;
  context.progress({ id: shortDigest(blob.digest), status, ...rest });
}

/** Tells how far the work on a blob is, not too often. */
export function teller(context: Context, blob: Descriptor, status: string | undefined): (current: number) => void {
  let last = 0;
  return (current) => {
    const now = performance.now();
    if (now - last < progressEveryMs && current < blob.size) return;
    last = now;
    tell(context, blob, status, { current, total: blob.size });
  };
}
