import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parseVolumesFrom, resolveMounts } from './mounts.ts';
import type { MountSpec } from './types.ts';

let folder: string;
const volume = (source: string, target: string): MountSpec => ({ type: 'volume', source, target, readOnly: false });

describe('resolveMounts', () => {
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'keelson-mounts-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  test('the caller’s mounts count before inherited ones, those before the image’s', async () => {
    const inherited = await resolveMounts([volume('old', '/a'), volume('kept', '/b')], [], []);
    const mounts = await resolveMounts([volume('mine', '/a')], ['/a', '/b', '/c'], inherited);
    assert.deepEqual(
      mounts.map((m) => [m.target, m.anonymous ? 'anonymous' : m.name]),
      [
        ['/a', 'mine'],
        ['/b', 'kept'],
        ['/c', 'anonymous'],
      ],
    );
  });

  test('a mount that others lie in comes first', async () => {
    const mounts = await resolveMounts([volume('v1', '/a/b/c'), volume('v2', '/a'), volume('v3', '/a/b')], [], []);
    assert.deepEqual(
      mounts.map((m) => m.target),
      ['/a', '/a/b', '/a/b/c'],
    );
  });

  const refused: [string, MountSpec, RegExp][] = [
    ['relative target', volume('v1', 'a'), /mount path must be absolute/],
    ['the root', volume('v1', '/..'), /destination can't be '\/'/],
    ['NUL', volume('v1', '/a\0'), /NUL byte/],
    ['volume name with a slash', volume('../etc', '/a'), /includes invalid characters for a local volume name/],
    ['short volume name', volume('v', '/a'), /too short/],
    [
      'missing source',
      { type: 'bind', source: '/no/such/dir', target: '/a', readOnly: false },
      /bind source path does not exist: \/no\/such\/dir/,
    ],
    ['relative source', { type: 'bind', source: 'x', target: '/a', readOnly: false }, /must be absolute/],
    [
      'propagation',
      { type: 'bind', source: '/', target: '/a', readOnly: false, propagation: 'x' as never },
      /invalid propagation mode/,
    ],
    [
      'tmpfs option',
      { type: 'tmpfs', source: '', target: '/a', readOnly: false, options: ['size=1m,uid=0'] },
      /invalid tmpfs option/,
    ],
    ['tmpfs source', { type: 'tmpfs', source: '/x', target: '/a', readOnly: false }, /must not be specified/],
    ['kind', { type: 'npipe' as never, source: '', target: '/a', readOnly: false }, /mount type unknown/],
  ];
  for (const [what, mount, message] of refused) {
    test(`refuses ${what}`, async () => {
      await assert.rejects(resolveMounts([mount], [], []), message);
    });
  }

  test('refuses the same target twice', async () => {
    await assert.rejects(
      resolveMounts([volume('v1', '/a'), volume('v2', '/a/')], [], []),
      /Duplicate mount point: \/a/,
    );
  });

  test('a missing source is fine where it is to be made', async () => {
    const source = join(folder, 'later');
    const [mount] = await resolveMounts(
      [{ type: 'bind', source, target: '/a', readOnly: true, createSource: true }],
      [],
      [],
    );
    assert.equal(mount?.source, source);
  });
});

test('--volumes-from', () => {
  assert.deepEqual(parseVolumesFrom('web'), { id: 'web', readOnly: false });
  assert.deepEqual(parseVolumesFrom('web:ro,z'), { id: 'web', readOnly: true });
  assert.throws(() => parseVolumesFrom(':ro'), /empty container/);
  assert.throws(() => parseVolumesFrom('web:x'), /invalid mode/);
});
