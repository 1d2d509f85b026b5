/** The library's part of the comparisons: one engine in this process, used again and again. */
import type { Library } from './measures.ts';

export function makeLibrary(): Library & AsyncDisposable {
  throw new Error('the library is not there yet');
}
