import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { mediaTypes } from '../../src/spec/media-types.ts';
import type { TarItem } from '../../src/image/tar-write.ts';
import { writeTar } from '../../src/image/tar-write.ts';

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** A tar archive of small files, in memory. */
export async function tarOf(files: Readonly<Record<string, string | Uint8Array | { link: string }>>): Promise<Buffer> {
  const meta = { mode: 0o644, uid: 0, gid: 0, mtime: 0n };
  const items = Object.entries(files).map(([path, value]): TarItem => {
    if (typeof value === 'object' && 'link' in value) {
      return { entry: { type: 'symlink', path, link: value.link, size: 0, ...meta } };
    }
    const content = Buffer.from(value);
    return { entry: { type: 'file', path, size: content.length, ...meta }, content };
  });
  const chunks: Uint8Array[] = [];
  for await (const chunk of writeTar(items)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The parts of an image, to be spoilt before they are pushed. */
export interface RawImage {
  blobs: Buffer[];
  config: { rootfs: { type: string; diff_ids: string[] }; [key: string]: unknown };
  manifest: {
    mediaType: string;
    layers: { digest: string; size: number; mediaType: string }[];
    [key: string]: unknown;
  };
}

/** An image of one gzip layer with these files; every call with other content is another image. */
export async function rawImage(files: Readonly<Record<string, string>>): Promise<RawImage> {
  const tar = await tarOf(files);
  const layer = gzipSync(tar);
  return {
    blobs: [layer],
    config: {
      ...{ architecture: 'amd64', os: 'linux', config: { Cmd: ['/bin/sh'] } },
      rootfs: { type: 'layers', diff_ids: [sha256(tar)] },
    },
    manifest: {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      layers: [{ mediaType: mediaTypes.ociLayerGzip, digest: sha256(layer), size: layer.length }],
    },
  };
}

/** Puts the image into a registry by the plain HTTP calls; `change` spoils the manifest at the last moment. */
export async function pushRaw(
  port: number,
  repository: string,
  tag: string,
  image: RawImage,
  change: (manifest: Record<string, unknown>) => void = () => {},
): Promise<{ id: string; digest: string }> {
  const config = Buffer.from(JSON.stringify(image.config));
  for (const blob of [...image.blobs, config]) await pushBlob(port, repository, blob);
  const manifest = {
    ...image.manifest,
    config: { mediaType: mediaTypes.ociConfig, digest: sha256(config), size: config.length },
  };
  change(manifest);
  const body = Buffer.from(JSON.stringify(manifest));
  const response = await fetch(`http://127.0.0.1:${port}/v2/${repository}/manifests/${tag}`, {
    ...{ method: 'PUT', body, headers: { 'content-type': image.manifest.mediaType } },
  });
  if (!response.ok) throw new Error(`pushing ${repository}:${tag}: ${response.status} ${await response.text()}`);
  return { id: sha256(config), digest: sha256(body) };
}

export async function pushBlob(port: number, repository: string, blob: Uint8Array): Promise<void> {
  const begun = await fetch(`http://127.0.0.1:${port}/v2/${repository}/blobs/uploads/`, { method: 'POST' });
  const location = begun.headers.get('location') ?? '';
  const body = Buffer.from(blob);
  const headers = { 'content-type': 'application/octet-stream' };
  const sent = await fetch(`${location}&digest=${sha256(blob)}`, { method: 'PUT', body, headers });
  if (sent.status !== 201) throw new Error(`pushing a blob: ${sent.status} ${await sent.text()}`);
}
