import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { refusedContainerFlags } from './options/run-flags.ts';
import { root } from './program.ts';

const text = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');

test('docs/cli.md names every flag that is refused, and no other', () => {
  const [, chapter = ''] = text.split('## What docker has and Keelson refuses');
  const item = chapter.slice(0, chapter.indexOf('\n- several'));
  const named = [...item.matchAll(/--([a-z0-9-]+)/g)].map((match) => match[1] as string);
  assert.deepEqual(named.toSorted(), Object.keys(refusedContainerFlags).toSorted());
});

test('docs/cli.md names every command', () => {
  for (const [name, { hidden, commands = {} }] of Object.entries(root.commands ?? {})) {
    if (hidden) continue;
    assert.match(text, new RegExp(`\\b${name}\\b`), name);
    for (const sub of Object.keys(commands)) assert.match(text, new RegExp(`\\b${sub}\\b`), `${name} ${sub}`);
  }
});
