// No imports here: they would all be resolved before compiled code can come from the cache, and an import of a module of Node's asks it for
// everything it exports, node:fs for its promises among others.
if (Number.parseInt(process.versions.node, 10) < 24) {
  console.error(`keelson: Node 24 or later is needed; this is ${process.version} (${process.execPath})`);
  process.exit(1);
}
const { mkdirSync, statSync } = process.getBuiltinModule('node:fs');
const { enableCompileCache } = process.getBuiltinModule('node:module');

/**
 * A folder for compiled code that nobody else can write to: what lies in it is run. (Node's own choice is in /tmp, where somebody else may
 * have made it first.)
 */
function cacheFolder(): string | undefined {
  const uid = process.geteuid?.();
  const { XDG_CACHE_HOME, HOME } = process.env;
  const base = uid === 0 ? '/var/cache' : (XDG_CACHE_HOME ?? (HOME && `${HOME}/.cache`));
  if (!base?.startsWith('/')) return undefined;
  const folder = `${base}/keelson`;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { uid: owner, mode } = statSync(folder);
    return owner === uid && (mode & 0o022) === 0 ? folder : undefined;
  } catch {
    return undefined;
  }
}

const folder = cacheFolder();
if (folder !== undefined) enableCompileCache(folder);

const { dispatch } = await import('./dispatch.ts');
process.exit(await dispatch(process.argv.slice(2)));
