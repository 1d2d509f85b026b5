import type { Context } from '../ground/context.ts';
import { isKeelsonError, KeelsonError } from '../ground/errors.ts';
import type { Digest } from '../spec/digest.ts';
import {
  type Descriptor,
  type ImageConfig,
  type Manifest,
  maxConfigBytes,
  maxManifestBytes,
  parseImageConfig,
  parseIndex,
  parseManifest,
} from '../spec/image.ts';
import { mediaTypes } from '../spec/media-types.ts';
import { ArchiveFiles, type ArchivedBlob } from './archive-files.ts';
import { collect, recover } from './collect.ts';
import { missing } from './create-image.ts';
import { decompress } from './decompress.ts';
import { dockerEntries } from './docker-archive.ts';
import { Hold } from './hold.ts';
import type { ImageBackend } from './image-backend.ts';
import { formatManifest, makeManifest } from './make-image.ts';
import { hostPlatform, pickManifest } from './platform.ts';
import { planLayers, prepareLayers } from './prepare-layers.ts';
import { recordImage } from './record-image.ts';
import { parseReference, repositoryOf } from './reference.ts';
import type { Platform } from './types.ts';

export interface LoadedImage {
  readonly id: Digest;
  /** Normalised; none for an image that the archive doesn't name. */
  readonly names: readonly string[];
}

/** An image of the archive before it is one of the store. */
interface Candidate {
  readonly manifest: Manifest;
  readonly bytes: Buffer;
  readonly local: boolean;
  readonly names: string[];
}

/**
 * Takes in what `save` of docker, podman, buildah, skopeo and Keelson writes: OCI image layouts and docker's archives, old and new, plain, gzip or zstd.
 * All images of the archive, or none: an archive that is damaged leaves nothing.
 */
export async function loadImages(
  context: Context,
  backend: ImageBackend,
  source: AsyncIterable<Uint8Array>,
  options: { platform?: Platform } = {},
): Promise<LoadedImage[]> {
  const what = 'loading the archive';
  await recover(context, backend);
  using hold = new Hold(backend);
  const files = new ArchiveFiles();
  const manifests: Digest[] = [];
  const chains: Digest[] = [];
  try {
    await files.read(context, backend, decompress(source, what), hold, what);
    const candidates = await candidatesIn(backend, files, options.platform ?? hostPlatform(), what);
    const ready: { candidate: Candidate; record: () => void }[] = [];
    for (const candidate of candidates) {
      ready.push({ candidate, record: await prepare(context, backend, candidate, hold, chains, manifests, what) });
    }
    backend.tables.db.immediate(() => {
      for (const { record } of ready) record();
    });
    return ready.map(({ candidate }) => ({ id: candidate.manifest.config.digest, names: candidate.names }));
  } finally {
    // What the images need is theirs by now.
    hold.release();
    await collect(backend, { chains: chains.toReversed(), blobs: [...files.all(), ...manifests] });
  }
}

/** Blobs checked, layers unpacked; returns what makes the image known. */
async function prepare(
  context: Context,
  backend: ImageBackend,
  { manifest, bytes, local, names }: Candidate,
  hold: Hold,
  chains: Digest[],
  manifests: Digest[],
  what: string,
): Promise<() => void> {
  const { digest } = manifest.config;
  const config = await readArchivedConfig(backend, digest, what);
  const { diff_ids: diffIds } = config.rootfs;
  if (diffIds.length !== manifest.layers.length) {
    const counts = `${manifest.layers.length} layers, its config tells of ${diffIds.length}`;
    throw new KeelsonError('corrupt', `${what}: an image has ${counts}`);
  }
  for (const layer of manifest.layers) {
    const size = await backend.store.has(layer.digest);
    if (size !== undefined && size !== layer.size) {
      throw new KeelsonError(
        'corrupt',
        `${what}: the layer ${layer.digest} has ${size} bytes, its manifest says ${layer.size}`,
      );
    }
  }
  hold.add([digest, ...manifest.layers.map((layer) => layer.digest)]);
  const plans = planLayers(manifest.layers, diffIds);
  chains.push(...plans.map(({ chainId }) => chainId));
  hold.add(chains);
  const layers = await prepareLayers(context, backend, plans, missing(what), what, { unpacking: 'Loading layer' });
  const manifestDigest = await hold.put(context, bytes, what);
  manifests.push(manifestDigest);
  const image = {
    id: digest,
    config,
    manifest: manifestDigest,
    manifestType: manifest.mediaType,
    layers,
    names,
    local,
  };
  return () => recordImage(backend, image);
}

async function readArchivedConfig(backend: ImageBackend, digest: Digest, what: string): Promise<ImageConfig> {
  try {
    return parseImageConfig(await backend.store.read(digest, maxConfigBytes), `${what}: the config ${digest}`);
  } catch (error) {
    if (!isKeelsonError(error, 'not-found')) throw error;
    throw new KeelsonError('corrupt', `${what}: the config ${digest} is missing`, { cause: error });
  }
}

async function candidatesIn(
  backend: ImageBackend,
  files: ArchiveFiles,
  platform: Platform,
  what: string,
): Promise<Candidate[]> {
  const docker = dockerEntries(files.document('manifest.json'), what);
  const index = files.document('index.json');
  if (index !== undefined) {
    const found = await fromLayout(backend, files, index, platform, what);
    // docker's document beside the layout knows the names that annotations may not have.
    for (const { config, names } of docker) {
      const id = files.blob(config)?.digest;
      const same = found.find(({ manifest }) => manifest.config.digest === id);
      if (same) same.names.push(...names.filter((name) => !same.names.includes(name)));
    }
    if (found.length > 0) return found;
  }
  if (docker.length > 0) {
    return docker.map(({ config, layers, names }) => fromDocker(files, config, layers, names, what));
  }
  const old = files.document('repositories') === undefined ? '' : '; archives of docker before 1.10 are not supported';
  throw new KeelsonError('corrupt', `${what}: holds no image: neither index.json nor manifest.json names one${old}`);
}

function fromDocker(
  files: ArchiveFiles,
  configPath: string,
  layerPaths: readonly string[],
  names: string[],
  what: string,
): Candidate {
  const config = present(files.blob(configPath), configPath, what);
  const layers = layerPaths.map((path): Descriptor => {
    const { digest, size, compression } = present(files.blob(path), path, what);
    const mediaType = { gzip: mediaTypes.ociLayerGzip, zstd: mediaTypes.ociLayerZstd, none: mediaTypes.ociLayer };
    if (compression === 'xz' || compression === 'bzip2') {
      throw new KeelsonError('unsupported', `${what}: ${path} is compressed with ${compression}`);
    }
    return { mediaType: mediaType[compression], digest, size };
  });
  const manifest = makeManifest(config, layers);
  return { manifest, bytes: formatManifest(manifest), local: true, names };
}

function present(blob: ArchivedBlob | undefined, path: string, what: string): ArchivedBlob {
  if (blob) return blob;
  throw new KeelsonError('corrupt', `${what}: ${JSON.stringify(path.slice(0, 200))} is missing`);
}

async function fromLayout(
  backend: ImageBackend,
  files: ArchiveFiles,
  index: unknown,
  platform: Platform,
  what: string,
): Promise<Candidate[]> {
  const found = new Map<Digest, Candidate>();
  for (const entry of parseIndex(index, `${what}: index.json`).manifests) {
    const candidate = await follow(backend, files, entry, platform, what);
    const known = found.get(candidate.manifest.config.digest);
    if (known) known.names.push(...candidate.names.filter((name) => !known.names.includes(name)));
    else found.set(candidate.manifest.config.digest, candidate);
  }
  return [...found.values()];
}

/** From an entry of index.json to the manifest for the platform, through further indexes if need be. */
async function follow(
  backend: ImageBackend,
  files: ArchiveFiles,
  top: Descriptor,
  platform: Platform,
  what: string,
): Promise<Candidate> {
  let entry = top;
  for (let depth = 0; depth < 4; depth++) {
    const blob = present(files.byDigest(entry.digest), entry.digest, what);
    const bytes = await backend.store.read(blob.digest, maxManifestBytes);
    const parsed = parseManifest(bytes, entry.mediaType, `${what}: ${entry.digest}`);
    if (parsed.kind === 'manifest') {
      return { manifest: parsed.manifest, bytes, local: false, names: namesIn(top) };
    }
    // An archive of one platform may carry the whole index.
    const here = parsed.index.manifests.filter(({ digest }) => files.byDigest(digest));
    entry = pickManifest(here, platform, 'the archive');
  }
  throw new KeelsonError('corrupt', `${what}: indexes lie too deep in one another`);
}

/** containerd's annotation, or OCI's where that has a whole name (as skopeo and podman write it), not a tag alone. */
function namesIn({ annotations = {} }: Descriptor): string[] {
  const oci = annotations['org.opencontainers.image.ref.name'];
  const whole = annotations['io.containerd.image.name'] ?? (oci !== undefined && /[:/]/.test(oci) ? oci : undefined);
  if (whole === undefined) return [];
  const reference = parseReference(whole);
  return reference.tag === undefined ? [] : [`${repositoryOf(reference)}:${reference.tag}`];
}
