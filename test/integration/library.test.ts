import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import * as library from '../../src/index.ts';
import { checkout, finished, testEngine } from '../support/engine.ts';
import { seedImages, startRegistry } from '../support/registry.ts';

const page = readFileSync(join(checkout, 'docs/library.md'), 'utf8');
const examples = [...page.matchAll(/^```ts( registry)?\n([^]*?)^```$/gm)].map((match) => ({
  needsRegistry: match[1] !== undefined,
  code: match[2] ?? '',
}));

describe('docs/library.md', () => {
  for (const [i, { code, needsRegistry }] of examples.entries()) {
    test(`example ${i + 1} says what its comments say`, async () => {
      await using engine = await testEngine();
      await using registry = needsRegistry ? await registryWithBusybox() : undefined;
      const folder = mkdtempSync(join(tmpdir(), 'keelson-example-'));
      try {
        const expected = [...code.matchAll(/^\/\/ (.*)$/gm)].map((match) => match[1]).join('\n');
        const local = (text: string): string => (registry ? text.replaceAll('localhost:5000', registry.host) : text);
        const file = join(folder, 'example.ts');
        writeFileSync(file, local(code).replaceAll("'keelson'", `'${checkout}/src/index.ts'`));
        const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', file], {
          env: { ...process.env, ...engine.env },
        });
        const { code: exitCode, stdout, stderr } = await finished(child, `example ${i + 1}`);
        assert.equal(stderr, '');
        assert.equal(stdout.trim(), local(expected));
        assert.equal(exitCode, 0);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  }

  test('shows every public export that is a value', () => {
    for (const name of Object.keys(library)) {
      if (name === 'Process') continue; // what run and exec return
      assert.ok(
        examples.some(({ code }) => new RegExp(`\\b${name}\\b`).test(code)),
        `${name} has no example`,
      );
    }
  });
});

async function registryWithBusybox(): Promise<{ host: string } & AsyncDisposable> {
  const registry = await startRegistry();
  await seedImages(registry);
  return { host: registry.host, [Symbol.asyncDispose]: async () => registry.stop() };
}
