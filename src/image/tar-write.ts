import { KeelsonError } from '../ground/errors.ts';
import { type TarEntry, tarPadding } from './tar-entry.ts';
import { tarEnd, tarHeader } from './tar-header.ts';

/** An entry with its data, for the types that have any: exactly `entry.size` bytes. */
export interface TarItem {
  readonly entry: TarEntry;
  readonly content?: Uint8Array | AsyncIterable<Uint8Array>;
}

/**
 * An archive as a stream of chunks, one entry at a time: nothing is held but what is being written.
 * Throws `internal` when an entry's content has another length than its header says.
 *
 *     await pipeline(writeTar(items), createWriteStream('out.tar'));
 */
export async function* writeTar(items: Iterable<TarItem> | AsyncIterable<TarItem>): AsyncGenerator<Uint8Array> {
  for await (const { entry, content } of items) {
    yield tarHeader(entry);
    let written = 0;
    for await (const chunk of content instanceof Uint8Array ? [content] : (content ?? [])) {
      written += chunk.length;
      if (written > entry.size) break;
      yield chunk;
    }
    if (written !== entry.size) {
      throw new KeelsonError(
        'internal',
        `${entry.path}: its content has ${written > entry.size ? 'more' : 'fewer'} than the ${entry.size} bytes of its header`,
      );
    }
    if (tarPadding(written) > 0) yield tarEnd.subarray(0, tarPadding(written));
  }
  yield tarEnd;
}
