import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import type { Digest } from '../spec/digest.ts';
import type { ContainerDefaults, Descriptor, HistoryEntry, ImageConfig, Manifest } from '../spec/image.ts';
import { mediaTypes } from '../spec/media-types.ts';
import { collect } from './collect.ts';
import { digestOf } from './content-store.ts';
import { Hold } from './hold.ts';
import type { ImageBackend } from './image-backend.ts';
import { readConfig, readManifest } from './image-details.ts';
import { formatConfig, formatManifest, makeManifest } from './make-image.ts';
import { hostPlatform } from './platform.ts';
import { planLayers, prepareLayers } from './prepare-layers.ts';
import { recordImage } from './record-image.ts';
import type { Platform } from './types.ts';

/** An image to be made from another one (or nothing) and what came on top. */
export interface NewLayerImage {
  /** Id of the image below. */
  readonly base?: Digest;
  /** A plain tar stream with the changes, in OCI's form (whiteouts as `.wh.` files). Absent: only the config differs. */
  readonly layer?: AsyncIterable<Uint8Array>;
  /** Defaults for containers: what becomes of those of the base. */
  readonly defaults?: (base: ContainerDefaults) => ContainerDefaults;
  readonly history: HistoryEntry;
  readonly author?: string;
  /** Without a base. */
  readonly platform?: Platform;
  /** Normalised. */
  readonly names: readonly string[];
  /** Begins each error: "committing web". */
  readonly doing: string;
}

/** Makes an image: stores the layer, unpacks it, writes config and manifest. Nothing of it stays on failure. */
export async function createImage(context: Context, backend: ImageBackend, image: NewLayerImage): Promise<Digest> {
  const { doing } = image;
  using hold = new Hold(backend);
  const base = await readBase(backend, image, hold);
  let added: { chain: Digest | undefined; blobs: Digest[] } = { chain: undefined, blobs: [] };
  try {
    const layer = image.layer && (await storeLayer(context, backend, image.layer, hold, doing));
    const config = nextConfig(base.config, image, layer?.digest);
    const bytes = formatConfig(config);
    const configBlob = { digest: digestOf(bytes), size: bytes.length };
    const layers = [...base.layers, ...(layer ? [{ mediaType: plainTypeFor(base.manifest), ...layer }] : [])];
    const manifest = makeManifest(configBlob, layers, base.manifest?.mediaType);
    const plans = planLayers(layers, config.rootfs.diff_ids);
    const last = layer ? plans.at(-1)?.chainId : undefined;
    added = { chain: last, blobs: [configBlob.digest, ...(layer ? [layer.digest] : [])] };
    hold.add(plans.map(({ chainId }) => chainId));
    const rows = await prepareLayers(context, backend, plans, missing(doing), doing, {});
    await hold.put(context, bytes, doing);
    const manifestBytes = formatManifest(manifest);
    const manifestDigest = await hold.put(context, manifestBytes, doing);
    recordImage(backend, {
      ...{ id: configBlob.digest, config, layers: rows, names: image.names, local: true },
      ...{ manifest: manifestDigest, manifestType: manifest.mediaType },
    });
    return configBlob.digest;
  } catch (error) {
    hold.release();
    await collect(backend, { chains: added.chain ? [added.chain] : [], blobs: added.blobs });
    throw error;
  }
}

/** For layers whose blobs must be there already. */
export function missing(doing: string): (context: Context, blob: Descriptor) => Promise<void> {
  return async (_context, blob) => {
    throw new KeelsonError('corrupt', `${doing}: the layer ${blob.digest} is missing`);
  };
}

interface Base {
  readonly manifest: Manifest | undefined;
  readonly layers: readonly Descriptor[];
  readonly config: ImageConfig;
}

async function readBase(backend: ImageBackend, { base, platform }: NewLayerImage, hold: Hold): Promise<Base> {
  if (base === undefined) {
    const { os, architecture, variant } = platform ?? hostPlatform();
    const config: ImageConfig = {
      os,
      architecture,
      ...(variant && { variant }),
      rootfs: { type: 'layers', diff_ids: [] },
    };
    return { manifest: undefined, layers: [], config };
  }
  const row = backend.tables.get(base);
  if (row === undefined) throw new KeelsonError('not-found', `No such image: ${base}`);
  const layers = backend.tables.layers(base);
  hold.add([base, row.manifest, ...layers.flatMap(({ digest, chainId }) => [digest, chainId])]);
  const { manifest } = await readManifest(backend, row.manifest);
  return { manifest, layers: manifest.layers, config: await readConfig(backend, base) };
}

async function storeLayer(
  context: Context,
  backend: ImageBackend,
  tar: AsyncIterable<Uint8Array>,
  hold: Hold,
  doing: string,
): Promise<{ digest: Digest; size: number }> {
  const ingest = await backend.store.create();
  try {
    for await (const chunk of tar) {
      context.check(doing);
      await ingest.write([chunk]);
    }
  } catch (error) {
    await ingest.discard();
    throw error;
  }
  return ingest.commit(async (digest) => hold.claim(context, digest, doing));
}

function nextConfig(base: ImageConfig, image: NewLayerImage, diffId: Digest | undefined): ImageConfig {
  const created = image.history.created ?? new Date().toISOString();
  const author = image.author ?? base.author;
  const defaults = image.defaults ? image.defaults(base.config ?? {}) : base.config;
  return {
    created,
    ...(author !== undefined && author !== '' && { author }),
    ...{ architecture: base.architecture, os: base.os, ...(base.variant !== undefined && { variant: base.variant }) },
    ...(defaults && { config: defaults }),
    rootfs: { type: 'layers', diff_ids: [...base.rootfs.diff_ids, ...(diffId ? [diffId] : [])] },
    history: [
      ...(base.history ?? []),
      { ...image.history, created, ...(diffId === undefined && { empty_layer: true }) },
    ],
  };
}

function plainTypeFor(manifest: Manifest | undefined): string {
  return manifest?.mediaType === mediaTypes.dockerManifest ? mediaTypes.dockerLayer : mediaTypes.ociLayer;
}
