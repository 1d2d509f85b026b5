import type { Usage } from './snapshotter.ts';
import { readTar } from './tar-read.ts';

/** Counts what an archive of headers tells of; a file with several names counts once. */
export async function usageOf(headers: AsyncIterable<Uint8Array>): Promise<Usage> {
  let size = 0;
  let inodes = 0;
  for await (const { entry } of readTar(headers, { headersOnly: true })) {
    size += entry.size;
    if (entry.type !== 'hardlink') inodes++;
  }
  return { size, inodes };
}
