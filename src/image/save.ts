import { createHash } from '../ground/crypto.ts';
import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { algorithmOf, type Digest, hexOf } from '../spec/digest.ts';
import { mediaTypes } from '../spec/media-types.ts';
import type { ImageRow, LayerRow } from '../store/images.ts';
import { findImage, type FoundImage } from './find-image.ts';
import { Hold } from './hold.ts';
import type { ImageBackend } from './image-backend.ts';
import { familiarReference, parseReference, repositoryOf } from './reference.ts';
import type { TarEntry } from './tar-entry.ts';
import { type TarItem, writeTar } from './tar-write.ts';

interface Saved {
  readonly row: ImageRow;
  readonly layers: readonly LayerRow[];
  /** Normalised. */
  readonly tags: string[];
  readonly manifestSize: number;
}

/**
 * An archive that docker, podman, skopeo and containerd read: an OCI image layout and docker's manifest.json over the same blobs, as they are in the store.
 * By name, by id (then without names), or by repository (all of its tags).
 */
export async function* saveImages(
  context: Context,
  backend: ImageBackend,
  texts: readonly string[],
): AsyncGenerator<Uint8Array> {
  const doing = `saving ${texts.join(', ')}`;
  using hold = new Hold(backend);
  const images = await choose(backend, texts, hold);
  yield* writeTar(entries(context, backend, images, doing));
}

async function choose(backend: ImageBackend, texts: readonly string[], hold: Hold): Promise<Saved[]> {
  const { tables, store } = backend;
  if (texts.length === 0) throw new KeelsonError('invalid-argument', 'saving needs at least one image');
  const chosen = new Map<Digest, string[]>();
  tables.db.immediate(() => {
    for (const { id, name } of texts.flatMap((text) => imagesToSave(backend, text))) {
      const tags = chosen.get(id) ?? [];
      chosen.set(id, tags);
      if (name !== undefined && !name.includes('@') && !tags.includes(name)) tags.push(name);
      hold.add([id, tables.get(id)?.manifest ?? id, ...tables.layers(id).map(({ digest }) => digest)]);
    }
  });
  const images: Saved[] = [];
  for (const [id, tags] of chosen) {
    const row = tables.get(id);
    const manifestSize = row && (await store.has(row.manifest));
    if (row === undefined || manifestSize === undefined) throw new KeelsonError('not-found', `No such image: ${id}`);
    images.push({ row, layers: tables.layers(id), tags, manifestSize });
  }
  return images;
}

/** What `save` takes for a name: a repository without a tag stands for all its tags. Throws `not-found`. */
export function imagesToSave({ tables }: Pick<ImageBackend, 'tables'>, text: string): FoundImage[] {
  if (!/^(sha256:)?[0-9a-f]{64}$/.test(text)) {
    const reference = parseReference(text, { bare: true });
    if (reference.tag === undefined && reference.digest === undefined) {
      const prefix = `${repositoryOf(reference)}:`;
      const tags = tables.names().filter(({ name }) => name.startsWith(prefix) && !name.includes('@'));
      if (tags.length > 0) return tags.map(({ imageId, name }) => ({ id: imageId, name }));
    }
  }
  return [findImage(tables, text)];
}

async function* entries(
  context: Context,
  backend: ImageBackend,
  images: readonly Saved[],
  doing: string,
): AsyncGenerator<TarItem> {
  const blobs = new Map<Digest, number | undefined>();
  for (const { row, layers, manifestSize } of images) {
    blobs.set(row.manifest, manifestSize);
    blobs.set(row.id, await backend.store.has(row.id));
    for (const { digest, size } of layers) blobs.set(digest, size);
  }
  yield directory('blobs');
  for (const algorithm of new Set([...blobs.keys()].map(algorithmOf))) yield directory(`blobs/${algorithm}`);
  for (const [digest, size = 0] of [...blobs].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    yield { entry: fileEntry(pathOf(digest), size), content: verified(context, backend, digest, doing) };
  }
  yield file('index.json', indexOf(images));
  yield file('manifest.json', images.map(dockerEntry));
  yield file('oci-layout', { imageLayoutVersion: '1.0.0' });
  yield file('repositories', repositoriesOf(images));
}

/** image-layout.md: every image under each of its names; containerd's annotation has the whole name, OCI's the tag. */
function indexOf(images: readonly Saved[]): object {
  const manifests = images.flatMap(({ row, tags, manifestSize }) => {
    const { os, architecture, variant } = row;
    const descriptor = {
      ...{ mediaType: row.manifestType, digest: row.manifest, size: manifestSize },
      platform: { architecture, os, ...(variant !== '' && { variant }) },
    };
    if (tags.length === 0) return [descriptor];
    return tags.map((name) => ({
      ...descriptor,
      annotations: {
        'io.containerd.image.name': name,
        'org.opencontainers.image.ref.name': name.slice(name.lastIndexOf(':') + 1),
      },
    }));
  });
  return { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
}

function dockerEntry({ row, layers, tags }: Saved): object {
  return {
    Config: pathOf(row.id),
    RepoTags: tags.length > 0 ? tags.map((name) => familiarReference(name)) : null,
    Layers: layers.map(({ digest }) => pathOf(digest)),
  };
}

/** What docker before 1.10 read; some tools still ask for it. */
function repositoriesOf(images: readonly Saved[]): object {
  const repositories: Record<string, Record<string, string>> = Object.create(null) as Record<string, never>;
  for (const { layers, tags } of images) {
    const top = layers.at(-1);
    for (const tag of top ? tags : []) {
      const reference = parseReference(tag);
      const repository = familiarReference(repositoryOf(reference));
      repositories[repository] = {
        ...repositories[repository],
        [reference.tag ?? 'latest']: hexOf(top?.digest as Digest),
      };
    }
  }
  return repositories;
}

function pathOf(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
}

/** A blob's bytes, checked as they go: a damaged store must not make a damaged archive in silence. */
async function* verified(
  context: Context,
  backend: ImageBackend,
  digest: Digest,
  doing: string,
): AsyncGenerator<Uint8Array> {
  const hash = createHash(algorithmOf(digest));
  for await (const chunk of backend.store.stream(digest) as AsyncIterable<Buffer>) {
    context.check(doing);
    hash.update(chunk);
    yield chunk;
  }
  if (hash.digest('hex') !== hexOf(digest)) {
    throw new KeelsonError('corrupt', `${doing}: the blob ${digest} is damaged: remove the image and get it again`);
  }
}

function directory(path: string): TarItem {
  return { entry: { type: 'directory', path: `${path}/`, mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 0n } };
}

function fileEntry(path: string, size: number): TarEntry {
  return { type: 'file', path, mode: 0o644, uid: 0, gid: 0, size, mtime: 0n };
}

function file(path: string, value: unknown): TarItem {
  const content = Buffer.from(JSON.stringify(value));
  return { entry: fileEntry(path, content.length), content };
}
