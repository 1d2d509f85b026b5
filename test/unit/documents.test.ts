import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

const checkout = join(import.meta.dirname, '../..');
const inDocs = readdirSync(join(checkout, 'docs')).map((name) => join('docs', name));
const documents = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', ...inDocs].filter((path) => path.endsWith('.md'));

for (const path of documents) {
  const text = readFileSync(join(checkout, path), 'utf8');

  test(`${path}: the files that it names exist`, () => {
    const words = [...text.matchAll(/`([\w./-]+\.(?:ts|mjs|c|sh|json|md))`/g)].flatMap((match) => match[1] ?? []);
    // Short for a file that the same sentence has named the folder of.
    const folders = ['.', 'src', 'native', ...new Set(words.map((word) => dirname(word)))];
    const missing = words.filter(
      (word) => !folders.some((folder) => ['', 'src'].some((base) => existsSync(join(checkout, base, folder, word)))),
    );
    assert.deepEqual(missing, []);
  });

  test(`${path}: its links to files of the checkout lead somewhere`, () => {
    const targets = [...text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].flatMap((match) => match[1] ?? []);
    assert.deepEqual(
      targets.filter((target) => !existsSync(join(checkout, dirname(path), target))),
      [],
    );
  });
}
