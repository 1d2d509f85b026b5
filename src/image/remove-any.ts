import { Context } from '../ground/context.ts';
import { removeTree } from '../ground/remove-tree.ts';
import type { Keel } from '../kernel/keel.ts';
import { join } from 'node:path';
import type { SandboxIds } from './sandbox.ts';
import { tarHeader } from './tar-header.ts';
import { unpackTar } from './unpack.ts';

/**
 * Removes a directory with all that is in it; no error when it isn't there. With `ids` its files may belong to others than this process's
 * user: then keel removes it in that user namespace, told by an archive that has nothing but a whiteout.
 */
export async function removeAny(keel: Keel, parent: string, name: string, ids: SandboxIds | undefined): Promise<void> {
  if (ids === undefined) return removeTree(join(parent, name));
  const whiteout = { type: 'file', path: `.wh.${name}`, mode: 0, uid: 0, gid: 0, size: 0, mtime: 0n } as const;
  const options = { into: parent, scratch: parent, whiteouts: 'delete', ids } as const;
  async function* archive(): AsyncGenerator<Buffer> {
    yield tarHeader(whiteout);
  }
  await unpackTar(keel, archive(), options, new Context());
}
