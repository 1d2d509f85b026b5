import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cache, output } from './parts.ts';

/** Unpacks Debian packages, and the libraries that they depend on, into a tree. Nothing of them is run. */
export async function unpackPackages(names: readonly string[], tree: string): Promise<void> {
  const kinds = ['recommends', 'suggests', 'conflicts', 'breaks', 'replaces', 'enhances'].map((kind) => `--no-${kind}`);
  const closure = await output('apt-cache', ['depends', '--recurse', ...kinds, ...names]);
  const all = closure.split('\n').filter((line) => /^[a-z0-9]/.test(line));
  const wanted = [...new Set(all)].filter((name) => names.includes(name) || isLibrary(name));
  const folder = await mkdtemp(join(cache, 'packages-'));
  try {
    await output('apt-get', ['download', '-q', ...wanted], folder);
    for (const archive of await readdir(folder)) await output('dpkg-deb', ['-x', join(folder, archive), tree]);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Of what a package manager needs and a program doesn't, there is much among the dependencies. */
function isLibrary(name: string): boolean {
  return name.startsWith('lib') && !/perl|debian|newt|slang|elogind|textwrap|libsem|libsepol|libpam-/.test(name);
}
