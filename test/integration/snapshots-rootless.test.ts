/** Layers and containers' roots of an ordinary user: this file runs itself once more, as that user. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Context } from '../../src/ground/context.ts';
import { whyNoOverlay } from '../../src/image/choose-snapshotter.ts';
import { packTree } from '../../src/image/pack.ts';
import type { SandboxIds } from '../../src/image/sandbox.ts';
import { NativeSnapshotter } from '../../src/image/snapshot-native.ts';
import { OverlaySnapshotter } from '../../src/image/snapshot-overlay.ts';
import { readTar } from '../../src/image/tar-read.ts';
import { unpackTar } from '../../src/image/unpack.ts';
import { Keel, keelBinary } from '../../src/kernel/keel.ts';
import type { Digest } from '../../src/spec/digest.ts';
import { archive, type EntrySpec, files } from '../support/archive.ts';

const uid = 54_321;
const [, , role, root = '', driver] = process.argv;

if (role === 'as-user') await asUser(driver === 'native' ? NativeSnapshotter : OverlaySnapshotter);
else {
  describe('an ordinary user', () => {
    for (const name of ['overlay', 'native']) {
      test(`unpacks, stacks, changes and removes with ${name}`, () => {
        const top = mkdtempSync(join(tmpdir(), 'keelson-user-'));
        try {
          chownSync(top, uid, uid);
          copyFileSync(keelBinary(), join(top, 'keel'));
          chmodSync(join(top, 'keel'), 0o755);
          const output = execFileSync(process.execPath, [import.meta.filename, 'as-user', top, name], {
            encoding: 'utf8',
          });
          assert.deepEqual(JSON.parse(output.trim().split('\n').at(-1) as string), {
            overlay: null,
            // Whiteouts are files to this driver, which hold their names here.
            sizes: [8, name === 'native' ? 22 : 3],
            root: ['d/', 'd/new', 'd/x', 'd/y', 'etc/', 'etc/hosts', 'ro/', 'ro/f', 'tmp/'],
            owners: [0],
            changes: ['modified /d', 'added /d/new', 'added /d/x', 'deleted /u'],
            left: [],
          });
        } finally {
          rmSync(top, { recursive: true, force: true });
        }
      });
    }
  });
}

/** Everything is loaded by now: the checkout need not be readable to the user. */
async function asUser(Driver: typeof OverlaySnapshotter | typeof NativeSnapshotter): Promise<void> {
  process.setgroups?.([]);
  process.setgid?.(uid);
  process.setuid?.(uid);
  const context = new Context();
  const own = [{ containerID: 0, hostID: uid, size: 1 }];
  const ids: SandboxIds = { uids: own, gids: own, mapper: { kind: 'user', uid, gid: uid } };
  const keel = Keel.spawn({ binary: join(root, 'keel') });
  for (const name of ['mnt', 'scratch']) mkdirSync(join(root, name), { mode: 0o700 });
  const snapshotter = new Driver({ keel, root, ids });
  const sizes: number[] = [];
  const chain: Digest[] = [];
  const layers: EntrySpec[][] = [
    [
      ...files('a', 'd/x', 'tmp/', 'etc/'),
      { path: 'u', uid: 33, gid: 33, mode: 0o600 },
      { path: 'dev-null', type: 'char', major: 1, minor: 3 },
      { path: 'ro/', mode: 0o555 },
      ...files('ro/f'),
    ],
    files('.wh.a', 'd/.wh..wh..opq', 'd/y'),
  ];
  for (const [i, entries] of layers.entries()) {
    const bytes = archive(...entries);
    const diffId: Digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const blob = join(root, `blob-${i}`);
    writeFileSync(blob, bytes);
    const layer = { chainId: diffId, diffId, blob, doing: `layer ${i}`, ...(i > 0 && { parent: chain[0] as Digest }) };
    sizes.push((await snapshotter.prepareLayer(context, layer)).size);
    chain.push(diffId);
  }
  const base = { kind: 'image', chain } as const;
  const source = await snapshotter.containerRoot(context, 'c', base);
  const place = { kind: 'root', source, mountPoint: join(root, 'mnt'), lowerdirPlus: true } as const;
  const sandbox = { ids, scratch: join(root, 'scratch') };
  async function* written(): AsyncGenerator<Buffer> {
    yield archive(...files('d/new', '.wh.u', 'd/x'), { path: 'etc/hosts', content: '' });
  }
  await unpackTar(keel, written(), { into: place, whiteouts: 'delete', privileges: 'lenient', ...sandbox }, context);
  const found: string[] = [];
  const owners = new Set<number>();
  for await (const { entry } of readTar(packTree(keel, { from: place, ...sandbox }, context))) {
    found.push(entry.path);
    owners.add(entry.uid);
  }
  const changes = await snapshotter.changes(context, 'c', base);
  await snapshotter.removeContainer('c');
  for (const chainId of chain) await snapshotter.remove(chainId);
  console.log(
    JSON.stringify({
      overlay: (await whyNoOverlay(context, { keel, root, ids })) ?? null,
      sizes,
      root: found.sort(),
      owners: [...owners],
      changes: changes.map(({ kind, path }) => `${kind} ${path}`),
      left: readdirSync(join(root, 'snapshots', snapshotter.name, 'temporary')),
    }),
  );
  await keel.close();
}
