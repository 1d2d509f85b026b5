import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Context } from '../../src/ground/context.ts';
import { KeelsonError } from '../../src/ground/errors.ts';
import { decompress } from '../../src/image/decompress.ts';
import { isDigest } from '../../src/spec/digest.ts';
import type { LayerSource, Snapshotter } from '../../src/image/snapshotter.ts';
const execute = promisify(execFile);
export class TarSnapshotter implements Snapshotter {
  readonly name = 'tar';
  readonly needsParent = false;
  root: string;
  constructor(root: string) {
    this.root = root;
  }
  p(c: string) {
    return join(this.root, 'snap', c.replace(':', '-'));
  }
  async has(c: string) {
    return stat(this.p(c)).then(
      () => true,
      () => false,
    );
  }
  async prepareLayer(_context: Context, l: LayerSource) {
    const tmp = this.p(l.chainId) + '.tmp' + process.pid;
    await mkdir(tmp, { recursive: true });
    try {
      const h = createHash('sha256');
      let n = 0;
      const chunks: Uint8Array[] = [];
      for await (const c of decompress(createReadStream(l.blob), l.doing)) {
        h.update(c);
        n += c.length;
        chunks.push(c);
      }
      const d = 'sha256:' + h.digest('hex');
      if (d !== l.diffId)
        throw new KeelsonError(
          'corrupt',
          `${l.doing}: its tar stream has the digest ${d}, its config says ${l.diffId}`,
        );
      await writeFile(tmp + '/x.tar', Buffer.concat(chunks));
      await execute('tar', ['-C', tmp, '-xf', tmp + '/x.tar']);
      await rename(tmp, this.p(l.chainId));
      return { size: n };
    } catch (e) {
      await rm(tmp, { recursive: true, force: true });
      throw e;
    }
  }
  async remove(c: string) {
    await rm(this.p(c), { recursive: true, force: true });
  }
  async list() {
    return (await readdir(join(this.root, 'snap')).catch(() => [])).map((n) => n.replace('-', ':')).filter(isDigest);
  }
  async usage() {
    return { size: 1, inodes: 1 };
  }
  async sweep() {}
}
