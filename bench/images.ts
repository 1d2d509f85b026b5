/** The images that are run and pulled: written as an OCI layout here, pushed by skopeo. */
import { createHash } from 'node:crypto';
import { copyFileSync, createReadStream, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { readdir, lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { run } from './process.ts';
import { registry } from './world.ts';

export const smallImage = `${registry}/bench/small:1`;
export const largeImage = `${registry}/bench/large:1`;

const work = '/var/lib/keelson-bench/images';

export interface LargeImage {
  readonly files: number;
  readonly bytes: number;
  readonly compressed: number;
}

/** busybox alone. */
export async function pushSmallImage(): Promise<void> {
  if (await inRegistry('bench/small')) return;
  const tree = join(work, 'small');
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(join(tree, 'bin'), { recursive: true });
  copyFileSync('/bin/busybox', join(tree, 'bin/busybox'));
  for (const name of ['sh', 'true', 'sleep', 'yes', 'head', 'echo', 'cat'])
    symlinkSync('busybox', join(tree, 'bin', name));
  await push('small', [{ directory: tree }], smallImage);
}

const targetBytes = 1.1e9;
const targetFiles = 18_800;
/** How the files are shared out among the layers: a large base and ever smaller ones on top, as images are. */
const shares = [0.42, 0.25, 0.18, 0.1, 0.05];

/** 1.1 GB in 18,800 files and five gzip layers, out of this root's own /usr. */
export async function pushLargeImage(): Promise<void> {
  if (await inRegistry('bench/large')) return;
  const layers = await chooseFiles('/usr');
  await push(
    'large',
    layers.map((names) => ({ directory: '/usr', names })),
    largeImage,
  );
}

/** What the manifest and the layers say, for the table. */
export async function describeLargeImage(): Promise<LargeImage> {
  const layers = await chooseFiles('/usr');
  const names = layers.flat();
  const sizes = names.map((name) => statSync(join('/usr', name)).size);
  const manifest = JSON.parse(
    (await run(['skopeo', 'inspect', '--raw', '--tls-verify=false', `docker://${largeImage}`])).stdout,
  ) as {
    layers: { size: number }[];
  };
  return {
    files: names.length,
    bytes: sizes.reduce((sum, size) => sum + size, 0),
    compressed: manifest.layers.reduce((sum, layer) => sum + layer.size, 0),
  };
}

/** Files below `top`, as many and as large as wanted, in the order of their paths, shared out among the layers. */
async function chooseFiles(top: string): Promise<string[][]> {
  const entries = await readdir(top, { recursive: true, withFileTypes: true });
  const files: { name: string; size: number }[] = [];
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.push({ name: path.slice(top.length + 1), size: (await lstat(path)).size });
  }
  files.sort((a, b) => a.size - b.size || (a.name < b.name ? -1 : 1));
  // The small ones make the number, evenly over all sizes; the largest fill up to the bytes.
  const small = files.filter((file) => file.size < 100_000);
  const step = Math.max(1, small.length / (targetFiles * 0.985));
  const chosen = new Set<(typeof files)[number]>();
  for (let i = 0; Math.floor(i) < small.length; i += step) {
    const file = small[Math.floor(i)];
    if (file) chosen.add(file);
  }
  let bytes = [...chosen].reduce((sum, file) => sum + file.size, 0);
  for (const file of files.toReversed()) {
    if (file.size < 100_000 || bytes + file.size > targetBytes) continue;
    chosen.add(file);
    bytes += file.size;
  }
  const ordered = [...chosen].sort((a, b) => (a.name < b.name ? -1 : 1));
  const layers: string[][] = [];
  let next = 0;
  for (const share of shares) {
    const layer: string[] = [];
    for (let sum = 0; next < ordered.length && (sum < share * bytes || layers.length === shares.length - 1); next++) {
      const file = ordered[next];
      if (file === undefined) break;
      layer.push(file.name);
      sum += file.size;
    }
    layers.push(layer);
  }
  return layers;
}

interface LayerSource {
  readonly directory: string;
  /** All of it where absent. */
  readonly names?: readonly string[];
}

async function push(name: string, layers: readonly LayerSource[], reference: string): Promise<void> {
  const layout = join(work, `${name}.oci`);
  rmSync(layout, { recursive: true, force: true });
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true });
  const written = [];
  for (const layer of layers) written.push(await writeLayer(layout, layer));
  const blob = (value: unknown, mediaType: string): Descriptor => {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    writeFileSync(join(layout, 'blobs', digest.replace(':', '/')), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const config = blob(
    {
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: { Cmd: ['/bin/true'], Env: ['PATH=/bin'] },
      rootfs: { type: 'layers', diff_ids: written.map((layer) => layer.diffId) },
    },
    'application/vnd.oci.image.config.v1+json',
  );
  const manifestType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = blob(
    { schemaVersion: 2, mediaType: manifestType, config, layers: written.map((layer) => layer.descriptor) },
    manifestType,
  );
  writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [manifest] }));
  await run([
    'skopeo',
    'copy',
    '-q',
    '--insecure-policy',
    '--dest-tls-verify=false',
    `oci:${layout}`,
    `docker://${reference}`,
  ]);
  rmSync(layout, { recursive: true });
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

async function writeLayer(layout: string, layer: LayerSource): Promise<{ diffId: string; descriptor: Descriptor }> {
  const tar = join(layout, 'layer.tar');
  const create = ['tar', '--create', '--file', tar, '--directory', layer.directory] as const;
  if (layer.names === undefined) await run([...create, '.']);
  else {
    const input = layer.names.map((name) => `${name}\0`).join('');
    await run([...create, '--no-recursion', '--null', '--files-from', '-'], { input });
  }
  const diffId = await sha256(tar);
  await run(['gzip', '-6', '--no-name', tar]);
  const digest = await sha256(`${tar}.gz`);
  const { size } = statSync(`${tar}.gz`);
  await run(['mv', `${tar}.gz`, join(layout, 'blobs', digest.replace(':', '/'))]);
  return { diffId, descriptor: { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size } };
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return `sha256:${hash.digest('hex')}`;
}

async function inRegistry(repository: string): Promise<boolean> {
  return (
    await fetch(`http://${registry}/v2/${repository}/manifests/1`, { method: 'HEAD', headers: { accept: '*/*' } })
  ).ok;
}
