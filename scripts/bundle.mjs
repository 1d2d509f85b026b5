// Bundles the command line: dist/cli.cjs is all of it in one file, dist/keelson.mjs starts it with compiled code from a cache.
//
// One CommonJS file starts faster than the chunks that esbuild splits ES modules into: what is loaded on demand is evaluated on demand here
// too, node:* modules included, and there is one file to find, read and check instead of thirty.
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
  // Names in stacks are worth more than the bytes.
  minifyIdentifiers: false,
  keepNames: false,
  banner: { js: 'const __fileUrl = require("node:url").pathToFileURL(__filename).href;' },
  define: { 'import.meta.url': '__fileUrl' },
});

/** `import('./dispatch.ts')` becomes a require of the bundle: an import would search all of it for its exports first. */
const bundled = {
  name: 'bundled',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /\/dispatch\.ts$/ }, ({ path }) => ({ path, namespace: 'bundled' }));
    onLoad({ filter: /.*/, namespace: 'bundled' }, () => ({
      contents:
        'export const { dispatch } = process.getBuiltinModule("node:module").createRequire(import.meta.url)("./cli.cjs");',
      loader: 'js',
    }));
  },
};

await build({
  ...common,
  entryPoints: ['src/cli/main.ts'],
  outfile: 'dist/keelson.mjs',
  format: 'esm',
  plugins: [bundled],
});
