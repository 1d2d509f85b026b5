/**
 * Becomes dist/keelson.mjs: runs dist/cli.cjs, the bundle of the command line, with compiled code from a cache. V8's own data of what has
 * run once: every function that a command needed is there and need not be compiled again, which Node's compile cache, made before
 * anything has run, doesn't give.
 *
 * No imports here: an import of a module of Node's asks it for everything it exports, node:fs for its promises among others.
 */
if (Number.parseInt(process.versions.node, 10) < 24) {
  console.error(`keelson: Node 24 or later is needed; this is ${process.version} (${process.execPath})`);
  process.exit(1);
}
const fs = process.getBuiltinModule('node:fs');
const { createRequire } = process.getBuiltinModule('node:module');
const { Script } = process.getBuiltinModule('node:vm');

type Dispatch = (words: readonly string[]) => Promise<number>;

/** Files in the cache folder beyond which nothing is added. */
const maxFiles = 128;

/** A folder for compiled code that nobody else can write to: what lies in it is run. */
function cacheFolder(): string | undefined {
  const uid = process.geteuid?.();
  const { XDG_CACHE_HOME, HOME } = process.env;
  const base = uid === 0 ? '/var/cache' : (XDG_CACHE_HOME ?? (HOME && `${HOME}/.cache`));
  if (!base?.startsWith('/')) return undefined;
  const folder = `${base}/keelson`;
  try {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { uid: owner, mode } = fs.statSync(folder);
    return owner === uid && (mode & 0o022) === 0 ? folder : undefined;
  } catch {
    return undefined;
  }
}

function read(path: string): Buffer | undefined {
  try {
    return fs.readFileSync(path);
  } catch {
    return undefined;
  }
}

/** The command's name as part of a file's name: each finds what it needs, and nothing else, compiled. */
function commandKey([first = '', second = '']: readonly string[]): string {
  if (!/^[a-z-]{1,20}$/.test(first)) return 'none';
  const isGroup = ['container', 'image', 'system', 'volume'].includes(first);
  return isGroup && /^[a-z]{1,20}$/.test(second) ? `${first}-${second}` : first;
}

const words = process.argv.slice(2);
const bundle = process.getBuiltinModule('node:url').fileURLToPath(new URL('cli.cjs', import.meta.url));
const require = createRequire(import.meta.url);
const { size, mtimeMs, ino } = fs.statSync(bundle);
const folder = cacheFolder();
// V8 refuses data of another version or of other flags, but takes those of another text of the same length: the name tells them apart.
const version = `cli-${process.versions.v8}-${process.arch}-${ino}-${size}-${Math.trunc(mtimeMs)}-`;
const stored = folder === undefined ? undefined : `${folder}/${version}${commandKey(words)}`;
const cachedData = stored === undefined ? undefined : read(stored);

// The bundle is ASCII (scripts/bundle.mjs sees to that), which is read fastest as Latin-1.
const text = `(function (exports, require, module, __filename, __dirname) {${fs.readFileSync(bundle, 'latin1')}\n})`;
const script = new Script(text, { filename: bundle, ...(cachedData && { cachedData }) });
const module = { exports: {} as { dispatch: Dispatch } };
const start = script.runInThisContext() as (...parts: unknown[]) => void;
start(module.exports, require, module, bundle, bundle.slice(0, bundle.lastIndexOf('/')));

const code = await module.exports.dispatch(words);
const usable = cachedData !== undefined && script.cachedDataRejected !== true;
if (folder !== undefined && stored !== undefined && !usable) save(folder, stored);
process.exit(code);

/** Keeps what has been compiled, and drops what other versions have left. Does nothing where that is not possible. */
function save(place: string, path: string): void {
  const draft = `${path}.${process.pid}`;
  const day = 24 * 3600 * 1000;
  try {
    const others = fs.readdirSync(place);
    for (const other of others) {
      if (other.startsWith(version) || !other.startsWith('cli-')) continue;
      if (Date.now() - fs.statSync(`${place}/${other}`).mtimeMs > day) fs.rmSync(`${place}/${other}`, { force: true });
    }
    if (others.length >= maxFiles) return;
    fs.writeFileSync(draft, script.createCachedData(), { flag: 'wx', mode: 0o600 });
    fs.renameSync(draft, path);
  } catch {
    // The next command compiles again.
  }
}
