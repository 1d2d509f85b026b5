import type { Context } from '../ground/context.ts';
import { isKeelsonError, KeelsonError, messageOf } from '../ground/errors.ts';
import type { Digest } from '../spec/digest.ts';
import { type Descriptor, type Manifest, parseManifest } from '../spec/image.ts';
import { digestOf, verify } from './content-store.ts';
import { pickManifest } from './platform.ts';
import { familiarReference, type Reference } from './reference.ts';
import type { RegistryClient } from './registry-client.ts';
import type { Platform } from './types.ts';

/** What a registry has under a reference, for one platform. */
export interface RemoteImage {
  readonly client: RegistryClient;
  /** Of what the reference names: an index, where there is one. */
  readonly digest: Digest;
  /** The manifest for the platform, its bytes and their digest. */
  readonly manifest: Manifest;
  readonly manifestDigest: Digest;
  readonly manifestBytes: Buffer;
}

/** An index may name further ones; real ones don't. */
const maxIndexDepth = 3;

/** Asks each client in turn; the error is that of the last, the registry itself. */
export async function findRemoteImage(
  context: Context,
  clients: readonly RegistryClient[],
  reference: Reference,
  platform: Platform,
): Promise<RemoteImage> {
  const mirrorsSaid: string[] = [];
  for (const [i, client] of clients.entries()) {
    try {
      return await resolveAt(context, client, reference, platform);
    } catch (error) {
      context.check(`pulling ${familiarReference(reference)}`);
      if (i < clients.length - 1) {
        mirrorsSaid.push(messageOf(error));
        continue;
      }
      throw named(error, reference, mirrorsSaid);
    }
  }
  throw new KeelsonError('internal', `${familiarReference(reference)}: no registry to pull from`);
}

async function resolveAt(
  context: Context,
  client: RegistryClient,
  reference: Reference,
  platform: Platform,
): Promise<RemoteImage> {
  const shown = familiarReference(reference);
  const doing = `pulling ${shown}`;
  const { path, tag = 'latest', digest } = reference;
  const top = await client.manifest(context, path, digest ?? tag, doing);
  if (digest) verify(top.bytes, digest, `${doing}: the manifest from ${client.endpoint.host}`);
  const topDigest = digest ?? digestOf(top.bytes);
  let { bytes, mediaType } = top;
  let manifestDigest = topDigest;
  for (let depth = 0; ; depth++) {
    const parsed = parseManifest(bytes, mediaType, `${shown} (${manifestDigest})`);
    if (parsed.kind === 'manifest') {
      return { client, digest: topDigest, manifest: parsed.manifest, manifestDigest, manifestBytes: bytes };
    }
    if (depth === maxIndexDepth) {
      throw new KeelsonError('corrupt', `${doing}: indexes lie more than ${maxIndexDepth} deep in one another`);
    }
    const entry = pickManifest(parsed.index.manifests, platform, `the index of ${shown}`);
    ({ bytes } = await client.manifest(context, path, entry.digest, doing));
    checkEntry(bytes, entry, doing);
    mediaType = entry.mediaType;
    manifestDigest = entry.digest;
  }
}

function checkEntry(bytes: Buffer, entry: Descriptor, doing: string): void {
  verify(bytes, entry.digest, `${doing}: the manifest`);
  if (bytes.length !== entry.size) {
    throw new KeelsonError(
      'corrupt',
      `${doing}: the manifest ${entry.digest} has ${bytes.length} bytes, its index says ${entry.size}`,
    );
  }
}

function named(error: unknown, reference: Reference, mirrorsSaid: readonly string[]): unknown {
  if (!(error instanceof KeelsonError)) return error;
  const details = { ...error.details, ...(mirrorsSaid.length > 0 && { mirrors: mirrorsSaid }) };
  const message =
    isKeelsonError(error, 'not-found') && error.details.status === 404
      ? `manifest for ${familiarReference(reference)} not found: ${error.message}`
      : error.message;
  return new KeelsonError(error.code, message, { cause: error, details });
}
