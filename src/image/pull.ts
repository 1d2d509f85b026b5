import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import type { Digest } from '../spec/digest.ts';
import { type ImageConfig, maxConfigBytes, parseImageConfig } from '../spec/image.ts';
import { downloadBlob } from './blob-download.ts';
import { collect, collectAll, recover } from './collect.ts';
import type { Credentials } from './credentials.ts';
import { Hold } from './hold.ts';
import type { ImageBackend } from './image-backend.ts';
import { formatPlatform, hostPlatform, rank } from './platform.ts';
import { planLayers, prepareLayers, pullWords } from './prepare-layers.ts';
import { recordImage } from './record-image.ts';
import { familiarReference, formatReference, type Reference, repositoryOf } from './reference.ts';
import { findRemoteImage, type RemoteImage } from './remote-image.ts';
import { neededBy } from './needed-by.ts';
import type { Platform } from './types.ts';

export interface PullOptions {
  /** What to pick from an index, and what a single image must be. Absent: this machine's, and a single image of any other is taken. */
  readonly platform?: Platform;
  /** Instead of stored ones. */
  readonly credentials?: Credentials;
}

export interface PullResult {
  /** The image's id. */
  readonly id: Digest;
  /** What the registry has under the reference: an index or a manifest. */
  readonly digest: Digest;
  /** The name meant this image already. */
  readonly upToDate: boolean;
}

/**
 * Brings an image from its registry: manifest, config, and its layers, several at once, each unpacked as soon as it is here. The image appears in the
 * store when all of it is there. On failure the layers that it alone wanted go again; its blobs, whole and partial, stay a while for
 * the next attempt.
 */
export async function pullImage(
  context: Context,
  backend: ImageBackend,
  reference: Reference,
  options: PullOptions = {},
): Promise<PullResult> {
  const { registries, tables, store } = backend;
  const shown = familiarReference(reference);
  const repository = repositoryOf(reference);
  const doing = `pulling ${shown}`;
  await recover(context, backend);
  const clients = await registries.forPull(context, reference.domain, reference.path, options.credentials);
  const remote = await context.span('resolve', async () =>
    findRemoteImage(context, clients, reference, options.platform ?? hostPlatform()),
  );
  context.progress({
    id: reference.digest ?? reference.tag ?? 'latest',
    status: `Pulling from ${reference.domain === 'docker.io' ? reference.path : familiarReference(repository)}`,
  });
  using hold = new Hold(backend);
  const { manifest, manifestDigest } = remote;
  hold.add([manifestDigest, manifest.config.digest, ...manifest.layers.map(({ digest }) => digest)]);
  const config = await fetchConfig(context, backend, remote, doing, reference.path);
  if (options.platform) checkPlatform(config, options.platform, shown);
  const layers = planLayers(manifest.layers, config.rootfs.diff_ids);
  const chains = layers.map(({ chainId }) => chainId);
  hold.add(chains);
  try {
    const rows = await prepareLayers(
      ...[context, backend, layers],
      async (inner, blob, progress) =>
        downloadBlob(inner, blob, {
          ...{ client: remote.client, repository: reference.path, store, progress, doing },
          retry: registries.retry,
        }),
      doing,
      pullWords,
    );
    await hold.put(context, remote.manifestBytes, doing);
    const id = manifest.config.digest;
    // By digest and tag, the digest decides and the tag is nobody's promise.
    const names = [
      ...(reference.digest === undefined ? [formatReference(reference)] : []),
      `${repository}@${remote.digest}`,
    ];
    const replaced = neededBy(tables, id);
    const upToDate = names.every((name) => tables.byName(name) === id);
    recordImage(backend, {
      id,
      config,
      manifest: manifestDigest,
      manifestType: manifest.mediaType,
      layers: rows,
      names,
      local: false,
    });
    for (const { digest } of manifest.layers) tables.addSource(digest, repository);
    // The same image by another manifest (other compression): what only the old one needed goes.
    hold.release();
    await collect(backend, replaced);
    context.progress({ id: '', status: `Digest: ${remote.digest}` });
    const status = upToDate ? 'Image is up to date' : 'Downloaded newer image';
    context.progress({ id: '', status: `Status: ${status} for ${shown}` });
    return { id, digest: remote.digest, upToDate };
  } catch (error) {
    hold.release();
    await collect(backend, { chains: chains.toReversed(), blobs: [] });
    await collectAll(backend);
    throw error;
  }
}

async function fetchConfig(
  context: Context,
  backend: ImageBackend,
  remote: RemoteImage,
  doing: string,
  repository: string,
): Promise<ImageConfig> {
  const { store, leases, registries } = backend;
  const { manifest, client } = remote;
  const { digest, size } = manifest.config;
  if (size > maxConfigBytes) {
    throw new KeelsonError('corrupt', `${doing}: a config of ${size} bytes is larger than ${maxConfigBytes}`);
  }
  {
    using _lease = await leases.acquire(context, `blob:${digest}`, doing);
    if ((await store.has(digest)) === undefined) {
      await downloadBlob(context, manifest.config, { client, repository, store, retry: registries.retry, doing });
    }
  }
  const config = parseImageConfig(await store.read(digest, maxConfigBytes), `${doing}: the config ${digest}`);
  const layers = config.rootfs.diff_ids.length;
  if (layers !== manifest.layers.length) {
    throw new KeelsonError(
      'corrupt',
      `${doing}: the manifest has ${manifest.layers.length} layers, its config tells of ${layers}`,
    );
  }
  return config;
}

function checkPlatform(config: ImageConfig, wanted: Platform, shown: string): void {
  // One that says nothing of its architecture is taken at the caller's word.
  if (config.architecture === '' || rank(wanted, config) !== undefined) return;
  throw new KeelsonError(
    'not-found',
    `image with reference ${shown} was found but its platform (${formatPlatform(config)}) does not match the specified platform (${formatPlatform(wanted)})`,
  );
}
