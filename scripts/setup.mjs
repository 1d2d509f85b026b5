// Brings a checkout up to date: dependencies, keel, TypeScript. Runs on any Node from 18, does nothing that is done already.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const started = Date.now();

function run(what, command, args, options = {}) {
  const begin = Date.now();
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    ...options,
  });
  if (result.error || result.status !== 0) {
    process.stdout.write(result.stdout ?? '');
    console.error(
      `setup: ${what} failed: ${result.error?.message ?? `${command} exited with ${result.status ?? result.signal}`}`,
    );
    process.exit(1);
  }
  console.error(`setup: ${what} (${((Date.now() - begin) / 1000).toFixed(1)} s)`);
}

const mtime = (path) => (existsSync(join(root, path)) ? statSync(join(root, path)).mtimeMs : 0);

/** The newest change under `folder` among files that end in one of `endings`. */
function newest(folder, endings) {
  let latest = 0;
  for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    if (entry.isFile() && !path.includes('/build/') && endings.some((e) => entry.name.endsWith(e))) {
      latest = Math.max(latest, statSync(path).mtimeMs);
    }
  }
  return latest;
}

// npm writes node_modules/.package-lock.json last, so its absence or age tells of an unfinished or old install.
// Inside npm's own install (`prepare`) that file isn't there yet.
const inNpmInstall = process.env.npm_lifecycle_event === 'prepare';
if (!inNpmInstall && mtime('node_modules/.package-lock.json') < mtime('package-lock.json')) {
  run('dependencies', 'npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']);
}

const keel = 'native/build/keel';
if (mtime(keel) < Math.max(newest('native', ['.c', '.h', '.json']), mtime('scripts/build-keel.mjs'))) {
  run('keel', process.execPath, ['scripts/build-keel.mjs']);
}

const inputs = ['tsconfig.json', 'package-lock.json', 'scripts/bundle.mjs'];
const sources = Math.max(newest('src', ['.ts', '.json']), ...inputs.map(mtime));
if (mtime('dist/.built') < sources) {
  const ready = existsSync(join(root, 'node_modules/typescript'));
  if (!ready) {
    console.error('setup: node_modules is missing: run `npm ci`');
    process.exit(1);
  }
  run('TypeScript', process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json']);
  run('command line', process.execPath, ['scripts/bundle.mjs']);
  run('planner', join(root, 'node_modules/.bin/esbuild'), [
    'src/api/oci/main.ts',
    '--bundle',
    '--platform=node',
    '--format=esm',
    '--target=node24',
    '--outfile=dist/planner.mjs',
    '--log-level=warning',
  ]);
  mkdirSync(join(root, 'dist'), { recursive: true });
  writeFileSync(join(root, 'dist/.built'), `${sources}\n`);
}
if (Date.now() - started > 1000) console.error(`setup: ready (${((Date.now() - started) / 1000).toFixed(1)} s)`);
