import type { Digest } from '../spec/digest.ts';
import type { ImageConfig } from '../spec/image.ts';
import type { LayerRow } from '../store/images.ts';
import type { ImageBackend } from './image-backend.ts';
import { normalise } from './platform.ts';

export interface NewImage {
  /** Digest of the config. */
  readonly id: Digest;
  readonly config: ImageConfig;
  readonly manifest: Digest;
  readonly manifestType: string;
  readonly layers: readonly LayerRow[];
  /** Normalised; each is taken from the image that it named before. */
  readonly names: readonly string[];
  /** Its manifest was made here: nobody has its digest yet. */
  readonly local: boolean;
}

/** Makes an image whose blobs and layers are all there known, with its names, at once. */
export function recordImage(backend: ImageBackend, image: NewImage): void {
  const { tables } = backend;
  const { config } = image;
  const { os, architecture, variant = '' } = normalise(config);
  const created = Date.parse(config.created ?? '');
  tables.db.immediate(() => {
    tables.put(
      {
        id: image.id,
        manifest: image.manifest,
        manifestType: image.manifestType,
        ...{ os, architecture, variant },
        createdAt: Number.isNaN(created) ? 0 : Math.max(0, created),
        addedAt: Date.now(),
        labels: config.config?.Labels ?? {},
        local: image.local,
      },
      image.layers,
    );
    for (const name of image.names) tables.name(name, image.id);
  });
}
