import type { Change } from './snapshotter.ts';
import type { LowerView, ViewNode } from './lower-view.ts';
import type { SandboxIds } from './sandbox.ts';
import type { TarEntry } from './tar-entry.ts';
import { tarPadding } from './tar-entry.ts';
import { tarEnd, tarHeader } from './tar-header.ts';
import { readTar, type TarReadItem } from './tar-read.ts';

const opaqueName = '.wh..wh..opq';

/**
 * What the runtime makes in every root before it mounts over it. Empty ones that the base does not have are no changes of the container's, nor are
 * their parents for their sake.
 */
const mountPoints: ReadonlySet<string> = new Set([
  ...[
    '.dockerenv',
    'dev',
    'dev/console',
    'dev/pts',
    'dev/shm',
    'dev/mqueue',
    'proc',
    'sys',
    'run',
    'run/.containerenv',
  ],
  ...['etc', 'etc/hostname', 'etc/hosts', 'etc/resolv.conf', 'etc/mtab', 'run/secrets', 'sbin', 'sbin/docker-init'],
]);

/** The changes, and what besides them has a say in a layer made of them. Paths of the sets have no leading slash. */
export interface Changes {
  readonly changes: Change[];
  /** No change of the container's: left out. */
  readonly ignored: ReadonlySet<string>;
  /** Unchanged, but a hard link among the changes refers to it: not left out. */
  readonly linked: ReadonlySet<string>;
}

/**
 * From the headers of an overlay's upper directory: all that is in there is a change. `splitTop`: the directories at its top are there
 * in any case, each the upper one of an overlay of its own. `ids`: the user namespace in which the headers were made.
 */
export async function overlayChanges(
  headers: AsyncIterable<TarReadItem>,
  lower: LowerView,
  options: { splitTop?: boolean; ids?: SandboxIds | undefined } = {},
): Promise<Changes> {
  const found = new Map<string, Change['kind']>();
  const stubs = new Set<string>();
  const opaque: string[] = [];
  const present = new Set<string>();
  for await (const { entry } of headers) {
    const path = entry.path.replace(/\/$/, '');
    const name = path.slice(path.lastIndexOf('/') + 1);
    const parent = path.slice(0, Math.max(0, path.length - name.length - 1));
    if (name === opaqueName) opaque.push(parent);
    else if (name.startsWith('.wh.')) {
      const gone = join(parent, name.slice(4));
      if (lower.find(gone)) found.set(gone, 'deleted');
    } else {
      present.add(path);
      const node = lower.find(path);
      found.set(path, node ? 'modified' : 'added');
      if ((options.splitTop && parent === '') || isStub(entry, path, node, options.ids)) stubs.add(path);
    }
  }
  // A directory that was removed and made anew hides what it had.
  for (const path of opaque) {
    if (options.splitTop && !path.includes('/')) continue;
    const node = lower.find(path);
    for (const name of node ? lower.names(node) : []) {
      if (!present.has(join(path, name))) found.set(join(path, name), 'deleted');
    }
  }
  showAbove(found);
  return withoutStubs(found, stubs);
}

/** From the headers of a whole root, compared with what it was copied from. `ids`: the user namespace in which the headers were made. */
export async function treeChanges(
  headers: AsyncIterable<TarReadItem>,
  lower: LowerView,
  ids?: SandboxIds,
): Promise<Changes> {
  const found = new Map<string, Change['kind']>();
  const stubs = new Set<string>();
  const present = new Map<string, Set<string>>([['', new Set()]]);
  const files = new Map<string, TarEntry>();
  const links = new Map<string, string>();
  for await (const { entry } of headers) {
    const path = entry.path.replace(/\/$/, '');
    const slash = path.lastIndexOf('/');
    if (entry.type === 'directory') present.set(path, new Set());
    present.get(path.slice(0, Math.max(0, slash)))?.add(path.slice(slash + 1));
    if (entry.type === 'hardlink') links.set(path, entry.link ?? '');
    else if (entry.type !== 'directory') files.set(path, entry);
    // A further name of a file says nothing of the file itself.
    const told = entry.type === 'hardlink' ? files.get(entry.link ?? '') : entry;
    const node = lower.find(path);
    if (!node) found.set(path, 'added');
    else if (!told || differs(told, node, ids)) found.set(path, 'modified');
    if (isStub(entry, path, node, ids)) stubs.add(path);
  }
  for (const [path, names] of present) {
    const node = lower.find(path);
    for (const name of node ? lower.names(node) : []) if (!names.has(name)) found.set(join(path, name), 'deleted');
  }
  showAbove(found);
  const linked = [...links].filter(([path, target]) => found.has(path) && !found.has(target));
  return { ...withoutStubs(found, stubs), linked: new Set(linked.map(([, target]) => target)) };
}

/** A change shows in all directories above it. */
function showAbove(found: Map<string, Change['kind']>): void {
  for (const path of [...found.keys()]) {
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) {
      if (!found.has(path.slice(0, at))) found.set(path.slice(0, at), 'modified');
    }
  }
}

function join(parent: string, name: string): string {
  return parent === '' ? name : `${parent}/${name}`;
}

function isStub(entry: TarEntry, path: string, below: ViewNode | undefined, ids: SandboxIds | undefined): boolean {
  if (!mountPoints.has(path)) return false;
  if (entry.type === 'directory') return below === undefined || !differs(entry, below, ids);
  return below === undefined && entry.size === 0 && (entry.type === 'file' || path === 'etc/mtab');
}

const kinds: Readonly<Record<string, bigint>> = {
  file: 0o100000n,
  symlink: 0o120000n,
  char: 0o020000n,
  block: 0o060000n,
  directory: 0o040000n,
  fifo: 0o010000n,
};

function differs(entry: TarEntry, { stat, link }: ViewNode, ids?: SandboxIds): boolean {
  if (kinds[entry.type] !== (stat.mode & 0o170000n)) return true;
  if (entry.uid !== insideId(ids?.uids, stat.uid) || entry.gid !== insideId(ids?.gids, stat.gid)) return true;
  if (entry.type !== 'symlink' && entry.mode !== Number(stat.mode & 0o7777n)) return true;
  if (entry.type === 'directory') return false;
  if (entry.type === 'file' && BigInt(entry.size) !== stat.size) return true;
  return entry.mtime !== stat.mtimeNs || (link !== undefined && link !== entry.link);
}

/** What an ID is called in a user namespace; the overflow ID (proc_sys_kernel(5)) where it has no name there. */
function insideId(map: SandboxIds['uids'] | undefined, id: bigint): number {
  if (!map) return Number(id);
  const range = map.find((r) => id >= BigInt(r.hostID) && id < BigInt(r.hostID + r.size));
  return range ? Number(id) - range.hostID + range.containerID : 65_534;
}

/** Takes out the stubs that nothing else has changed. */
function withoutStubs(found: Map<string, Change['kind']>, stubs: ReadonlySet<string>): Changes {
  const ignored = new Set<string>();
  const deepestFirst = [...stubs].sort((a, b) => b.length - a.length);
  for (const path of deepestFirst) {
    const inside = [...found.keys()].some((other) => other.startsWith(`${path}/`));
    if (inside || !found.has(path)) continue;
    found.delete(path);
    ignored.add(path);
  }
  const changes = [...found].map(([path, kind]) => ({ path: `/${path}`, kind }));
  return { changes: changes.sort((a, b) => (a.path < b.path ? -1 : 1)), ignored, linked: new Set() };
}

/** An overlay's upper directory as a layer: its archive without what is ignored. */
export async function* layerOfUpper(
  archive: AsyncIterable<Uint8Array>,
  { ignored }: Changes,
): AsyncGenerator<Uint8Array> {
  if (ignored.size === 0) yield* archive;
  else yield* filtered(archive, (entry) => !ignored.has(entry.path.replace(/\/$/, '')));
}

/** A whole root as a layer: of its archive what has changed, and a whiteout for each thing that has gone. */
export async function* layerOfTree(
  archive: AsyncIterable<Uint8Array>,
  { changes, linked }: Changes,
): AsyncGenerator<Uint8Array> {
  const wanted = new Set(linked);
  for (const { path, kind } of changes) {
    if (kind !== 'deleted') wanted.add(path.slice(1));
    else {
      const at = path.lastIndexOf('/') + 1;
      const whiteout = `${path.slice(1, at)}.wh.${path.slice(at)}`;
      yield tarHeader({ type: 'file', path: whiteout, mode: 0, uid: 0, gid: 0, size: 0, mtime: 0n });
    }
  }
  yield* filtered(archive, (entry) => wanted.has(entry.path.replace(/\/$/, '')));
}

/** The entries that are wanted, byte for byte. */
async function* filtered(
  archive: AsyncIterable<Uint8Array>,
  wanted: (entry: TarEntry) => boolean,
): AsyncGenerator<Uint8Array> {
  for await (const item of readTar(archive)) {
    if (!wanted(item.entry)) continue;
    yield item.header;
    yield* item.content;
    const padding = tarPadding(item.entry.size);
    if (padding > 0) yield tarEnd.subarray(0, padding);
  }
  yield tarEnd;
}
