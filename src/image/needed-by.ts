import type { Digest } from '../spec/digest.ts';
import type { ImageTables } from '../store/images.ts';

/** What images need: what may go with them. */
export interface Needs {
  readonly chains: readonly Digest[];
  readonly blobs: readonly Digest[];
}

/** Everything that an image needs, top layer first. */
export function neededBy(tables: ImageTables, id: Digest): Needs {
  const layers = tables.layers(id);
  const manifest = tables.manifestOf(id);
  return {
    chains: layers.map(({ chainId }) => chainId).toReversed(),
    blobs: [
      id,
      ...(manifest === undefined ? [] : [manifest]),
      ...layers.flatMap(({ digest }) => [digest, ...tables.variants(digest)]),
    ],
  };
}
