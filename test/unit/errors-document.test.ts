import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { errorCodes } from '../../src/ground/errors.ts';

test('docs/errors.md describes every error code, and no other', async () => {
  const text = await readFile(join(import.meta.dirname, '../../docs/errors.md'), 'utf8');
  const described = [...text.matchAll(/^## `([^`]+)`$/gm)].map((match) => match[1]);
  assert.deepEqual(described.toSorted(), [...errorCodes].toSorted());
});
