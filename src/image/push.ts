import { createGzip } from 'node:zlib';
import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { together } from '../ground/together.ts';
import { type Digest, shortDigest } from '../spec/digest.ts';
import type { Descriptor, Manifest } from '../spec/image.ts';
import { kindOf, mediaTypes } from '../spec/media-types.ts';
import { uploadBlob } from './blob-upload.ts';
import { digestOf } from './content-store.ts';
import type { Credentials } from './credentials.ts';
import { Hold } from './hold.ts';
import type { ImageBackend } from './image-backend.ts';
import { readManifest } from './image-details.ts';
import { formatManifest } from './make-image.ts';
import { teller } from './prepare-layers.ts';
import { familiarReference, formatReference, type Reference, repositoryOf } from './reference.ts';
import { pushScope, type RegistryClient } from './registry-client.ts';

export interface PushResult {
  readonly digest: Digest;
  /** Bytes of the manifest, as docker prints it. */
  readonly size: number;
}

/**
 * Sends an image to its registry under its name: layers, config, then the manifest. An image that came from a registry goes out as it came, byte for byte; the plain layers
 * of one that was made here are compressed, once.
 */
export async function pushImage(
  context: Context,
  backend: ImageBackend,
  reference: Reference,
  options: { credentials?: Credentials } = {},
): Promise<PushResult> {
  const { tables, registries } = backend;
  const shown = familiarReference(reference);
  const doing = `pushing ${shown}`;
  const { tag, path: repository } = reference;
  if (tag === undefined || reference.digest !== undefined) {
    throw new KeelsonError('invalid-argument', `${doing}: cannot push a digest reference`);
  }
  const name = repositoryOf(reference);
  const id = tables.byName(formatReference(reference));
  const row = id === undefined ? undefined : tables.get(id);
  if (id === undefined || row === undefined) {
    throw new KeelsonError('not-found', `An image does not exist locally with the tag: ${familiarReference(name)}`);
  }
  context.progress({ id: '', status: `The push refers to repository [${name}]` });

  using hold = new Hold(backend);
  let { manifest, bytes } = await readManifest(backend, row.manifest);
  if (row.local) {
    const layers = await compressLayers(context, backend, manifest.layers, hold, doing);
    manifest = { ...manifest, layers };
    bytes = formatManifest(manifest);
  }
  const client = await registries.forPush(context, reference.domain, repository, options.credentials);
  await sendBlobs(context, backend, manifest, client, reference, doing);
  const response = await client.send(context, {
    method: 'PUT',
    at: `${repository}/manifests/${tag}`,
    headers: { 'content-type': manifest.mediaType, 'content-length': String(bytes.length) },
    body: bytes,
    scopes: [pushScope(repository)],
    ok: [201, 202, 204],
    doing,
  });
  response.body.resume();
  const digest = digestOf(bytes);
  tables.name(`${name}@${digest}`, id);
  context.progress({ id: '', status: `${tag}: digest: ${digest} size: ${bytes.length}` });
  return { digest, size: bytes.length };
}

async function sendBlobs(
  context: Context,
  backend: ImageBackend,
  manifest: Manifest,
  client: RegistryClient,
  reference: Reference,
  doing: string,
): Promise<void> {
  const { tables, store, uploads, registries } = backend;
  const { domain, path: repository } = reference;
  // A layer that may not be distributed stays where its URLs say.
  const own = manifest.layers.filter(({ mediaType }) => kindOf(mediaType) === 'layer');
  const blobs = [...new Map([...own, manifest.config].map((blob) => [blob.digest, blob])).values()];
  for (const blob of own) tell(context, blob, 'Preparing');
  await together(
    context,
    blobs.map(
      (blob) => async (inner: Context) =>
        uploads.use(inner, doing, async () => {
          const isConfig = blob.digest === manifest.config.digest;
          const known = tables.sources(blob.digest).filter((source) => source.startsWith(`${domain}/`));
          const mountFrom = known
            .map((source) => source.slice(domain.length + 1))
            .filter((from) => from !== repository);
          const progress = isConfig ? undefined : teller(inner, blob, 'Pushing');
          const options = {
            client,
            repository,
            store,
            mountFrom,
            doing,
            retry: registries.retry,
            ...(progress && { progress }),
          };
          const done = await inner.span(`upload ${shortDigest(blob.digest)}`, async () =>
            uploadBlob(inner, blob, options),
          );
          tables.addSource(blob.digest, `${domain}/${repository}`);
          if (isConfig) return;
          tell(
            inner,
            blob,
            done === 'exists'
              ? 'Layer already exists'
              : done === 'sent'
                ? 'Pushed'
                : `Mounted from ${done.mountedFrom}`,
          );
        }),
    ),
  );
}

/** Plain layers as gzip: what was made once is used again, so that every push of a layer sends the same blob. */
async function compressLayers(
  context: Context,
  backend: ImageBackend,
  layers: readonly Descriptor[],
  hold: Hold,
  doing: string,
): Promise<Descriptor[]> {
  return together(
    context,
    layers.map((layer) => async (inner: Context) => {
      const compressed = gzipTypes[layer.mediaType];
      if (compressed === undefined) return layer;
      return backend.unpacks.use(inner, doing, async () => compress(inner, backend, layer, compressed, hold, doing));
    }),
  );
}

const gzipTypes: Readonly<Record<string, string>> = {
  [mediaTypes.ociLayer]: mediaTypes.ociLayerGzip,
  [mediaTypes.dockerLayer]: mediaTypes.dockerLayerGzip,
};

async function compress(
  context: Context,
  backend: ImageBackend,
  layer: Descriptor,
  mediaType: string,
  hold: Hold,
  doing: string,
): Promise<Descriptor> {
  const { tables, store, leases } = backend;
  using _lease = await leases.acquire(context, `blob:${layer.digest}`, doing);
  const known = tables.variant(layer.digest, mediaType);
  if (known) {
    hold.add([known.variant]);
    if ((await store.has(known.variant)) === known.size)
      return { ...layer, mediaType, digest: known.variant, size: known.size };
  }
  tell(context, layer, 'Compressing');
  const ingest = await store.create();
  try {
    const gzip = createGzip({ chunkSize: 1 << 18 });
    const source = store.stream(layer.digest);
    source.on('error', (error) => gzip.destroy(error));
    for await (const chunk of source.pipe(gzip) as AsyncIterable<Buffer>) {
      context.check(doing);
      await ingest.write([chunk]);
    }
  } catch (error) {
    await ingest.discard();
    throw error;
  }
  const { digest, size } = await ingest.commit(async (made) => hold.claim(context, made, doing));
  tables.addVariant(layer.digest, mediaType, digest, size);
  return { ...layer, mediaType, digest, size };
}

function tell(context: Context, blob: Descriptor, status: string): void {
  context.progress({ id: shortDigest(blob.digest), status });
}
