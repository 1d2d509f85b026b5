import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadSettings, parseSettings } from './settings.ts';

test('settings are read from TOML', async () => {
  const parsed = await parseSettings(
    '[registries]\ninsecure = ["r.lan:5000"]\n[registries.mirrors]\n"docker.io" = ["https://m.lan"]\n',
    'x',
  );
  assert.deepEqual(parsed.registries?.insecure, ['r.lan:5000']);
  assert.deepEqual(parsed.registries?.mirrors?.['docker.io'], ['https://m.lan']);
});

test('no file is no settings', async () => {
  assert.deepEqual(await loadSettings(['/nonexistent/a', '/dev/null/b']), {});
});

test('what is wrong is told with the file and the place', async () => {
  const refused: [content: string, message: RegExp][] = [
    ['[registries', /f\.toml: Invalid TOML document: incomplete/],
    ['[registries]\ninsecure = "x"', /f\.toml: registries\.insecure: expected an array/],
    ['[registries]\nmax-concurrent-downloads = 0', /registries\.max-concurrent-downloads: expected an integer from 1/],
    ['[registries]\ninsecur = []', /registries\.insecur: is not a setting; known here: insecure, mirrors/],
    ['[registry]', /registry: is not a setting/],
  ];
  for (const [content, message] of refused) await assert.rejects(parseSettings(content, 'f.toml'), message);
});
