import { randomBytes } from '../ground/crypto.ts';
import { lstat, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context } from '../ground/context.ts';
import { fromSystemError, KeelsonError } from '../ground/errors.ts';
import type { Paths } from '../ground/paths.ts';
import { removeTree } from '../ground/remove-tree.ts';
import type { Database } from '../store/database.ts';
import type { Leases } from '../store/leases.ts';
import type { Trash } from '../store/trash.ts';
import type { Events } from './events.ts';
import { anyOf, booleanFilter, checkFilters, matchesLabels, matchesName, matchesNoLabel } from './filters.ts';
import { printable } from './names.ts';
import type { EngineApi, Filters, Volume } from './types.ts';
import { checkVolumeName } from './volume-names.ts';

/** What tells a volume that nobody named from others, as in docker. */
export const anonymousLabel = 'com.docker.volume.anonymous';

type VolumesApi = EngineApi['volumes'];

interface Row {
  name: string;
  createdAt: number;
  labels: string;
  options: string;
  removing: number;
}

const select = 'SELECT name, created_at AS createdAt, labels, options, removing FROM volumes';

/**
 * Volumes of the `local` driver: a row, and a directory `<root>/volumes/<name>/_data` that is made when it is first used.
 * A container's use of one is a row too, written with the container's own, so that neither can go without the other knowing.
 */
export class Volumes implements VolumesApi {
  readonly #db: Database;
  readonly #events: Events;
  readonly #folder: string;
  readonly #leases: Leases;
  readonly #trash: Trash;

  constructor(parts: { db: Database; events: Events; leases: Leases; trash: Trash; paths: Paths }) {
    this.#db = parts.db;
    this.#events = parts.events;
    this.#leases = parts.leases;
    this.#trash = parts.trash;
    this.#folder = join(parts.paths.root, 'volumes');
  }

  path(name: string): string {
    return join(this.#folder, checkVolumeName(name), '_data');
  }

  /** Makes the row, unless there is one. True if it did. Within the caller's transaction, if there is one. */
  ensureRow(name: string, labels: Readonly<Record<string, string>>): boolean {
    return this.#db.immediate(() => {
      const row = this.#row(name);
      if (row?.removing) throw new KeelsonError('conflict', `volume ${name} is being removed`);
      if (row !== undefined) return false;
      this.#db.run(
        'INSERT INTO volumes (name, created_at, labels) VALUES (?, ?, ?)',
        name,
        Date.now(),
        JSON.stringify(labels),
      );
      this.#events.emit('volume', 'create', name, { driver: 'local' });
      return true;
    });
  }

  /** Notes that the container uses it. */
  use(name: string, container: string): void {
    this.#db.run('INSERT OR IGNORE INTO volume_uses (volume, container) VALUES (?, ?)', name, container);
  }

  /** Makes the directory, unless it is there; true if it did. */
  async ensureDirectory(name: string): Promise<boolean> {
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o701 });
      await mkdir(join(this.#folder, name), { recursive: true, mode: 0o755 });
      return (await mkdir(this.path(name), { recursive: true, mode: 0o755 })) !== undefined;
    } catch (error) {
      throw fromSystemError(error, `making the volume ${name}`);
    }
  }

  async create(
    _context: Context,
    options: { name?: string; labels?: Readonly<Record<string, string>>; options?: Readonly<Record<string, string>> },
  ): Promise<Volume> {
    if (Object.keys(options.options ?? {}).length > 0) {
      throw new KeelsonError(
        'unsupported',
        `create ${options.name ?? 'volume'}: the local driver takes no options yet`,
      );
    }
    const anonymous = options.name === undefined || options.name === '';
    const name = anonymous ? randomBytes(32).toString('hex') : checkVolumeName(options.name ?? '');
    this.ensureRow(name, { ...(anonymous && { [anonymousLabel]: '' }), ...options.labels });
    await this.ensureDirectory(name);
    return this.#get(name);
  }

  async list(_context: Context, filters: Filters = {}): Promise<readonly Volume[]> {
    checkFilters(filters, ['name', 'label', 'label!', 'dangling', 'driver']);
    const dangling = booleanFilter(filters, 'dangling');
    const used = new Set(
      this.#db.all<{ volume: string }>('SELECT DISTINCT volume FROM volume_uses').map((u) => u.volume),
    );
    return this.#db
      .all<Row>(`${select} WHERE removing = 0 ORDER BY name`)
      .map((row) => this.#volume(row))
      .filter(
        (v) =>
          anyOf(filters, 'name', (n) => matchesName(n, v.name)) &&
          anyOf(filters, 'driver', (d) => d === v.driver) &&
          matchesLabels(filters, v.labels) &&
          matchesNoLabel(filters, v.labels) &&
          (dangling === undefined || dangling !== used.has(v.name)),
      );
  }

  async inspect(_context: Context, name: string): Promise<Volume> {
    return this.#get(name);
  }

  async remove(context: Context, name: string, options: { force?: boolean } = {}): Promise<void> {
    const marked = this.#db.immediate(() => {
      const row = this.#row(name);
      if (row === undefined) {
        if (options.force) return false;
        throw noSuchVolume(name);
      }
      const users = this.#users(name);
      if (users.length > 0) {
        throw new KeelsonError('conflict', `remove ${name}: volume is in use - [${users.join(', ')}]`);
      }
      this.#db.run('UPDATE volumes SET removing = 1 WHERE name = ?', name);
      return true;
    });
    if (marked) await this.#finishRemoval(context, name);
  }

  /** Unused ones: those without a name of their own, or with `all` every one. */
  async prune(
    context: Context,
    options: { all?: boolean; filters?: Filters } = {},
  ): Promise<{ removed: readonly string[]; reclaimed: number }> {
    const { all: allFilter, ...filters } = options.filters ?? {};
    const all = options.all ?? booleanFilter({ all: allFilter ?? [] }, 'all') ?? false;
    checkFilters(filters, ['label', 'label!']);
    const removed: string[] = [];
    let reclaimed = 0;
    for (const volume of await this.list(context, { ...filters, dangling: ['true'] })) {
      if (!all && !Object.hasOwn(volume.labels, anonymousLabel)) continue;
      context.check('pruning volumes');
      const size = await diskUsage(volume.mountpoint);
      try {
        await this.remove(context, volume.name);
      } catch (error) {
        // It was taken into use, or removed, since it was listed.
        if (error instanceof KeelsonError && (error.code === 'conflict' || error.code === 'not-found')) continue;
        throw error;
      }
      removed.push(volume.name);
      reclaimed += size;
    }
    this.#events.emit('volume', 'prune', '', { reclaimed: String(reclaimed) });
    return { removed, reclaimed };
  }

  /** Removes a container's anonymous volumes with it, but those that others have taken into use by `--volumes-from`. */
  async removeWith(context: Context, container: string, names: readonly string[]): Promise<void> {
    for (const name of names) {
      this.#db.run('DELETE FROM volume_uses WHERE volume = ? AND container = ?', name, container);
      if (this.#row(name) === undefined || this.#users(name).length > 0) continue;
      await this.remove(context, name, { force: true });
    }
  }

  /** Ends removals that a crash interrupted. */
  async reconcile(context: Context): Promise<void> {
    for (const { name } of this.#db.all<Row>(`${select} WHERE removing = 1`)) await this.#finishRemoval(context, name);
  }

  /** The directory is moved away at once, so that the name is free for a new and empty volume; then it takes its time. */
  async #finishRemoval(context: Context, name: string): Promise<void> {
    let place: string | undefined;
    {
      using _ = await this.#leases.acquire(context, `volume:${name}`, `removing volume ${name}`);
      if (!this.#row(name)?.removing) return; // somebody else has done it, and the name may be taken again
      place = await this.#trash.take(join(this.#folder, name));
      this.#db.immediate(() => {
        this.#db.run('DELETE FROM volumes WHERE name = ?', name);
        this.#events.emit('volume', 'destroy', name, { driver: 'local' });
      });
    }
    if (place !== undefined) await removeTree(place);
  }

  #users(name: string): string[] {
    return this.#db
      .all<{ container: string }>('SELECT container FROM volume_uses WHERE volume = ? ORDER BY container', name)
      .map((u) => u.container);
  }

  #row(name: string): Row | undefined {
    return this.#db.get<Row>(`${select} WHERE name = ?`, name);
  }

  #get(name: string): Volume {
    const row = this.#row(name);
    if (row === undefined || row.removing) throw noSuchVolume(name);
    return this.#volume(row);
  }

  #volume(row: Row): Volume {
    return {
      name: row.name,
      driver: 'local',
      mountpoint: this.path(row.name),
      createdAt: row.createdAt,
      labels: JSON.parse(row.labels) as Record<string, string>,
      options: JSON.parse(row.options) as Record<string, string>,
    };
  }
}

function noSuchVolume(name: string): KeelsonError {
  return new KeelsonError('not-found', `get ${printable(name)}: no such volume`);
}

/** Bytes on disk of what is below a directory; hard links count once, what vanishes or can't be reached counts nothing. */
export async function diskUsage(directory: string): Promise<number> {
  const seen = new Set<number>();
  let bytes = 0;
  const waiting = [directory];
  for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
    const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const path = join(folder, entry.name);
      const stat = await lstat(path).catch(() => undefined);
      if (stat === undefined || seen.has(stat.ino)) continue;
      if (stat.nlink > 1 && !stat.isDirectory()) seen.add(stat.ino);
      bytes += stat.isDirectory() ? 0 : stat.size;
      if (stat.isDirectory()) waiting.push(path);
    }
  }
  return bytes;
}
