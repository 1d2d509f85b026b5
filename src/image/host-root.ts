import { mkdir, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { SplitRoot } from '../runtime/rootfs.ts';

/** What a container has of its own, or what belongs to this boot of the machine: not the machine's content. */
const notContent = new Set(['proc', 'sys', 'dev', 'run', 'tmp']);

/**
 * The machine's own root for a container in a user namespace, one overlay a directory of `/`, with the writable parts below
 * `upper` and `work`. Makes nothing.
 */
export async function hostRoot(upper: string, work: string): Promise<SplitRoot> {
  const entries = await readdir('/', { withFileTypes: true });
  const links = entries.filter((e) => e.isSymbolicLink());
  return {
    kind: 'split',
    overlays: entries
      .filter((e) => e.isDirectory() && !notContent.has(e.name))
      .map(({ name }) => ({ name, lower: `/${name}`, upper: join(upper, name), work: join(work, name) })),
    links: await Promise.all(links.map(async ({ name }) => ({ name, target: await readlink(`/${name}`) }))),
    directories: [
      { name: 'run', mode: 0o755 },
      { name: 'tmp', mode: 0o1777 },
    ],
  };
}

/** The directories that its overlays write to; those that are there already stay. */
export async function makeHostRoot({ overlays }: SplitRoot): Promise<void> {
  for (const { upper, work } of overlays) {
    for (const directory of [upper, work]) await mkdir(directory, { recursive: true, mode: 0o755 });
  }
}
