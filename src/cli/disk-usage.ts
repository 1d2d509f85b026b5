import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Container, Volume } from '../engine/types.ts';
import type { ImageSummary } from '../image/types.ts';
import type { Cli } from './cli.ts';

/** What `system df` adds up. */
export interface DiskUsage {
  readonly images: readonly (ImageSummary & { readonly containers: number })[];
  /** Bytes of all images' layers together, each once. */
  readonly layers: number;
  readonly containers: readonly Container[];
  readonly volumes: readonly (Volume & { readonly links: number; readonly size: number })[];
}

export async function diskUsage(cli: Cli): Promise<DiskUsage> {
  const engine = await cli.engine();
  const containers = await engine.list(cli.context, { all: true, size: true });
  const volumes = await engine.volumes.list(cli.context);
  const users = Map.groupBy(containers, ({ imageId }) => imageId);
  const links = Map.groupBy(
    containers.flatMap(({ mounts }) => mounts.filter(({ type }) => type === 'volume')),
    ({ name }) => name,
  );
  return {
    images: engine.images.list().map((image) => ({ ...image, containers: users.get(image.id)?.length ?? 0 })),
    layers: engine.images.diskUsage().layers,
    containers,
    volumes: await Promise.all(
      volumes.map(async (volume) => ({
        ...volume,
        links: links.get(volume.name)?.length ?? 0,
        size: await directorySize(volume.mountpoint),
      })),
    ),
  };
}

/** Bytes of the files below a directory; one with several names counts once. What vanishes meanwhile doesn't count. */
async function directorySize(path: string): Promise<number> {
  const seen = new Set<string>();
  let size = 0;
  const walk = async (directory: string): Promise<void> => {
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const place = join(directory, entry.name);
      const stat = await lstat(place).catch(() => undefined);
      if (stat === undefined) continue;
      if (stat.isDirectory()) await walk(place);
      else if (stat.nlink === 1 || !seen.has(`${stat.dev}:${stat.ino}`)) {
        if (stat.nlink > 1) seen.add(`${stat.dev}:${stat.ino}`);
        size += stat.size;
      }
    }
  };
  await walk(path);
  return size;
}
