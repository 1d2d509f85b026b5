import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import type { Parts } from './parts.ts';
import type { PathStat } from './types.ts';

const notYet = (): KeelsonError => new KeelsonError('unsupported', 'not yet');

export async function copyFrom(
  _parts: Parts,
  _context: Context,
  _id: string,
  _path: string,
): Promise<{ stat: PathStat; tar: AsyncIterable<Uint8Array> }> {
  throw notYet();
}

export async function copyTo(
  _parts: Parts,
  _context: Context,
  _id: string,
  _directory: string,
  _tar: AsyncIterable<Uint8Array>,
  _options: { noOverwriteDirNonDir?: boolean; copyUidGid?: boolean } = {},
): Promise<void> {
  throw notYet();
}

export async function statPath(_parts: Parts, _context: Context, _id: string, _path: string): Promise<PathStat> {
  throw notYet();
}

export function exportContainer(_parts: Parts, _context: Context, _id: string): AsyncIterable<Uint8Array> {
  throw notYet();
}
