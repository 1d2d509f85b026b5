import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { removeTree } from './remove-tree.ts';

test('a tree deeper than any path may be long is removed, links are not followed', async () => {
  const base = mkdtempSync(join(tmpdir(), 'keelson-rm-'));
  const outside = join(base, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'file'), '');
  const top = join(base, 'top');
  mkdirSync(top);
  // Built from the inside out, since no path reaches the bottom: each round puts what is there one level deeper.
  const name = 'd'.repeat(200);
  for (let depth = 0; depth < 60; depth++) {
    const level = join(base, 'level');
    mkdirSync(level);
    symlinkSync(outside, join(level, 'link'));
    writeFileSync(join(level, 'file'), '');
    renameSync(top, join(level, name));
    renameSync(level, top);
  }
  await removeTree(top);
  assert.equal(existsSync(top), false);
  assert.equal(existsSync(join(outside, 'file')), true);
  await removeTree(top);
  await removeTree(base);
});
