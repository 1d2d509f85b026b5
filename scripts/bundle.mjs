// Bundles the command line: dist/cli.cjs is all of it in one file, dist/keelson.mjs starts it with compiled code from a cache.
//
// One CommonJS file starts faster than the chunks that esbuild splits ES modules into: what is loaded on demand is evaluated on demand here
// too, node:* modules included, and there is one file to find, read and check instead of thirty.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const common = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node24',
  logLevel: 'warning',
  minify: true,
};

await build({
  ...common,
  entryPoints: ['src/cli/dispatch.ts'],
  outfile: 'dist/cli.cjs',
  format: 'cjs',
  charset: 'ascii',
  legalComments: 'external',
  // Names in stacks are worth more than the bytes.
  minifyIdentifiers: false,
  banner: { js: 'const __fileUrl = require("node:url").pathToFileURL(__filename).href;' },
  define: { 'import.meta.url': '__fileUrl' },
});
const text = readFileSync(join(root, 'dist/cli.cjs'));
if (text.some((byte) => byte > 0x7f)) throw new Error('dist/cli.cjs: not ASCII, as src/cli/launch.ts takes it to be');

await build({ ...common, entryPoints: ['src/cli/launch.ts'], outfile: 'dist/keelson.mjs', format: 'esm' });
