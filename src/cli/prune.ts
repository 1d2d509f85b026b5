import type { Filters } from '../engine/types.ts';
import type { Cli } from './cli.ts';
import type { Pruned } from './output/pruned.ts';

export async function pruneContainers(cli: Cli, filters: Filters): Promise<Pruned> {
  const engine = await cli.engine();
  return engine.prune(cli.context, filters);
}

export async function pruneVolumes(cli: Cli, filters: Filters): Promise<Pruned> {
  const { volumes } = await cli.engine();
  return volumes.prune(cli.context, { filters });
}

/** With the lines that `image prune` shows: `untagged: NAME`, `deleted: DIGEST`. */
export async function pruneImages(
  cli: Cli,
  options: { readonly all: boolean; readonly filters: Filters },
): Promise<Pruned> {
  const { images } = await cli.engine();
  const { removals, bytes } = await images.prune(cli.context, options);
  const removed = removals.map((removal) =>
    'untagged' in removal ? `untagged: ${removal.untagged}` : `deleted: ${removal.deleted}`,
  );
  return { removed, reclaimed: bytes };
}
