/** The media types of the OCI image-spec 1.1 (media-types.md) and of Docker's image manifest version 2, schema 2. */
export const mediaTypes = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  ociLayerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  dockerLayerZstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
  dockerForeignLayer: 'application/vnd.docker.image.rootfs.foreign.diff.tar',
  dockerForeignLayerGzip: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
} as const;

/** Docker's schema 1, which carries no layer digests worth the name. Recognised to be refused. */
const schema1 = new Set([
  'application/vnd.docker.distribution.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v1+prettyjws',
]);

const indexes = new Set<string>([mediaTypes.ociIndex, mediaTypes.dockerList]);
const manifests = new Set<string>([mediaTypes.ociManifest, mediaTypes.dockerManifest]);
// octet-stream: what Docker 1.10's registry pushes wrote for a config.
const configs = new Set<string>([mediaTypes.ociConfig, mediaTypes.dockerConfig, 'application/octet-stream']);
const layers = new Set<string>([
  mediaTypes.ociLayer,
  mediaTypes.ociLayerGzip,
  mediaTypes.ociLayerZstd,
  mediaTypes.dockerLayer,
  mediaTypes.dockerLayerGzip,
  mediaTypes.dockerLayerZstd,
]);
const foreign = new Set<string>([
  'application/vnd.oci.image.layer.nondistributable.v1.tar',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd',
  mediaTypes.dockerForeignLayer,
  mediaTypes.dockerForeignLayerGzip,
]);

/** What a media type describes; undefined for one that is none of an image's. */
export function kindOf(
  mediaType: string,
): 'index' | 'manifest' | 'config' | 'layer' | 'foreign-layer' | 'schema1' | undefined {
  if (indexes.has(mediaType)) return 'index';
  if (manifests.has(mediaType)) return 'manifest';
  if (configs.has(mediaType)) return 'config';
  if (layers.has(mediaType)) return 'layer';
  if (foreign.has(mediaType)) return 'foreign-layer';
  return schema1.has(mediaType) ? 'schema1' : undefined;
}

/** What to ask a registry for when it may answer with any manifest that can be used. */
export const acceptedManifests: string = [...manifests, ...indexes].join(', ');
