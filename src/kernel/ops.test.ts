import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { test } from 'node:test';
import { getSystemErrorMap } from 'node:util';
import { errnoName, errnoNumber, errnoText } from './errno.ts';
import { keelBinary } from './keel.ts';
import { wireVersion } from './ops.ts';

const generator = new URL('../../scripts/build-keel.mjs', import.meta.url);

test('ops.ts is what native/ops.json says', async () => {
  const { opsModule } = (await import(generator.href)) as { opsModule: () => string };
  assert.equal(readFileSync(new URL('ops.ts', import.meta.url), 'utf8'), opsModule());
});

test('the keel that is run speaks the same version of the wire', () => {
  assert.match(
    execFileSync(keelBinary(), ['--version'], { encoding: 'utf8' }),
    new RegExp(`wire version ${wireVersion}\\)`),
  );
});

test('errno names and numbers are those of this machine', () => {
  for (const [name, number] of Object.entries(constants.errno)) {
    assert.equal(errnoNumber(name), number, name);
    assert.equal(errnoNumber(errnoName(number)), number, name);
  }
  for (const [number, [name]] of getSystemErrorMap()) {
    if (-number < 1000) assert.equal(errnoNumber(name), -number, name);
  }
  assert.equal(errnoText('ENOENT'), 'No such file or directory');
  assert.equal(errnoName(4095), 'errno 4095');
  assert.equal(errnoNumber('ENONSENSE'), undefined);
});
