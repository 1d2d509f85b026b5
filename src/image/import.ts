import type { Context } from '../ground/context.ts';
import type { Digest } from '../spec/digest.ts';
import { recover } from './collect.ts';
import { applyChanges } from './config-changes.ts';
import { createImage } from './create-image.ts';
import { decompress } from './decompress.ts';
import type { ImageBackend } from './image-backend.ts';
import { formatReference, type Reference } from './reference.ts';
import type { Platform } from './types.ts';

export interface ImportOptions {
  readonly reference?: Reference;
  /** Dockerfile instructions: `CMD ["sh"]`. */
  readonly changes?: readonly string[];
  readonly message?: string;
  readonly platform?: Platform;
  /** Where it came from, for the history. */
  readonly from?: string;
}

/** An image of one layer from the tar archive of a root file system: plain, gzip or zstd. */
export async function importImage(
  context: Context,
  backend: ImageBackend,
  source: AsyncIterable<Uint8Array>,
  options: ImportOptions = {},
): Promise<Digest> {
  const { reference, changes = [], message, platform, from = '-' } = options;
  const defaults = applyChanges({}, changes);
  await recover(context, backend);
  const doing = `importing ${from}`;
  return createImage(context, backend, {
    ...(platform && { platform }),
    layer: decompress(source, doing),
    defaults: () => defaults,
    history: { comment: message ?? `Imported from ${from}` },
    names: reference ? [formatReference(reference)] : [],
    doing,
  });
}
