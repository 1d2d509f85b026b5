import { KeelsonError } from '../ground/errors.ts';
import type { Digest } from '../spec/digest.ts';
import {
  type ImageConfig,
  type Manifest,
  maxConfigBytes,
  maxManifestBytes,
  parseImageConfig,
  parseManifest,
} from '../spec/image.ts';
import type { LayerRow } from '../store/images.ts';
import type { ImageBackend } from './image-backend.ts';
import { summary } from './list-images.ts';
import type { ImageSummary, Platform } from './types.ts';

/** All there is to say of an image. */
export interface ImageDetails extends ImageSummary {
  readonly id: Digest;
  readonly platform: Platform;
  readonly config: ImageConfig;
  readonly manifestDigest: Digest;
  readonly manifestType: string;
  /** From the bottom up. */
  readonly layers: readonly LayerRow[];
  /** Milliseconds since the epoch: when it came here, and when a name was last given to it (0: never). */
  readonly addedAt: number;
  readonly taggedAt: number;
}

/** One line of `history`, newest first. */
export interface HistoryLine {
  /** The image's id for the newest; the history of others has none here. */
  readonly id: Digest | undefined;
  /** Milliseconds since the epoch; 0 where it says nothing. */
  readonly createdAt: number;
  readonly createdBy: string;
  readonly comment: string;
  /** Bytes that the step added. */
  readonly size: number;
  readonly tags: readonly string[];
}

export async function imageDetails(backend: ImageBackend, id: Digest): Promise<ImageDetails> {
  const { tables } = backend;
  const row = tables.get(id);
  if (row === undefined) throw new KeelsonError('not-found', `No such image: ${id}`);
  const layers = tables.layers(id);
  const names = tables.names(id);
  const size = layers.reduce((sum, { unpacked }) => sum + unpacked, 0);
  const { os, architecture, variant } = row;
  return {
    ...summary(
      row,
      names.map(({ name }) => name),
      size,
    ),
    platform: { os, architecture, ...(variant !== '' && { variant }) },
    config: await readConfig(backend, id),
    manifestDigest: row.manifest,
    manifestType: row.manifestType,
    layers,
    addedAt: row.addedAt,
    taggedAt: Math.max(0, ...names.map(({ taggedAt }) => taggedAt)),
  };
}

export async function readConfig(backend: ImageBackend, id: Digest): Promise<ImageConfig> {
  return parseImageConfig(await backend.store.read(id, maxConfigBytes), `the config ${id}`);
}

/** The manifest as it came, with its bytes. */
export async function readManifest(
  backend: ImageBackend,
  digest: Digest,
): Promise<{ manifest: Manifest; bytes: Buffer }> {
  const bytes = await backend.store.read(digest, maxManifestBytes);
  const parsed = parseManifest(bytes, undefined, `the manifest ${digest}`);
  if (parsed.kind !== 'manifest') throw new KeelsonError('corrupt', `${digest}: is not an image's manifest`);
  return { manifest: parsed.manifest, bytes };
}

/** Steps of the config's history with the sizes of their layers. A history that doesn't fit the layers is filled up, or cut, as far as needed. */
export function imageHistory({ id, config, layers, tags }: ImageDetails): HistoryLine[] {
  const left = [...layers];
  const lines = (config.history ?? []).map((step) => ({
    createdAt: Date.parse(step.created ?? '') || 0,
    createdBy: step.created_by ?? '',
    comment: step.comment ?? '',
    size: step.empty_layer ? 0 : (left.shift()?.unpacked ?? 0),
  }));
  for (const layer of left) lines.push({ createdAt: 0, createdBy: '', comment: '', size: layer.unpacked });
  return lines.toReversed().map((line, i) => ({ ...line, id: i === 0 ? id : undefined, tags: i === 0 ? tags : [] }));
}
