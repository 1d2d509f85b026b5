import type { Digest } from '../spec/digest.ts';
import type { Descriptor, ImageConfig, Manifest } from '../spec/image.ts';
import { mediaTypes } from '../spec/media-types.ts';

/** A manifest's bytes as they are kept and pushed: the same for the same image, whoever makes it. */
export function formatManifest(manifest: Manifest): Buffer {
  const { mediaType, config, layers, annotations } = manifest;
  const document = { schemaVersion: 2, mediaType, config, layers, ...(annotations && { annotations }) };
  return Buffer.from(JSON.stringify(document));
}

/** The manifest of an image that is made here: in the form of what it was made from, else in OCI's. */
export function makeManifest(
  config: { readonly digest: Digest; readonly size: number },
  layers: readonly Descriptor[],
  mediaType: string = mediaTypes.ociManifest,
): Manifest {
  const configType = mediaType === mediaTypes.dockerManifest ? mediaTypes.dockerConfig : mediaTypes.ociConfig;
  return { mediaType, config: { mediaType: configType, digest: config.digest, size: config.size }, layers };
}

export function formatConfig(config: ImageConfig): Buffer {
  return Buffer.from(JSON.stringify(config));
}
