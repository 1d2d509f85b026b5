import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Context } from '../ground/context.ts';
import type { Paths } from '../ground/paths.ts';
import type { Images, ImagesOptions } from '../image/images.ts';
import { LazySnapshotter } from './lazy-snapshotter.ts';
import { hostFacts } from '../kernel/facts.ts';
import { Keel } from '../kernel/keel.ts';
import type { Plan } from '../kernel/plan.ts';
import { BridgeNetwork, type BridgeOptions } from '../network/bridge-network.ts';
import { Leases } from '../store/leases.ts';
import { openStore } from '../store/store.ts';
import { Trash } from '../store/trash.ts';
import { copyFrom, copyTo, exportContainer, statPath } from './archive.ts';
import { attach } from './attach.ts';
import { Background } from './background.ts';
import { commit, type CommitOptions } from './commit.ts';
import { create } from './create.ts';
import { diff } from './diff.ts';
import { Events } from './events.ts';
import { exec } from './exec.ts';
import { explain } from './explain.ts';
import { idMapOf } from './id-map.ts';
import { ImageRoots } from './image-access.ts';
import { inspect, list } from './list.ts';
import { containerLogs } from './container-logs.ts';
import { NetworkModes } from './network-access.ts';
import { pause, unpause } from './pause.ts';
import { containerPaths, exitsFolder, type Parts } from './parts.ts';
import { prune, type Pruned } from './prune.ts';
import { reconcile, reconcileContainers } from './reconcile.ts';
import { Records } from './record.ts';
import { RecordedImages } from './recorded-images.ts';
import { remove, rename } from './remove.ts';
import { exited, restartWhenDue } from './restart-when-due.ts';
import type { StartOptions } from './run.ts';
import { start } from './start.ts';
import { stats } from './stats.ts';
import { kill, restart, stop, type StopOptions } from './stop.ts';
import { top, type ProcessTable } from './top.ts';
import type * as t from './types.ts';
import { update } from './update.ts';
import { Volumes } from './volumes.ts';
import { wait } from './wait.ts';

export interface EngineOptions {
  readonly paths: Paths;
  readonly network?: BridgeOptions;
  readonly registries?: ImagesOptions['registries'];
  /** A server: deals with exits and restarts itself while it lives, instead of leaving them to the keepers' exit command. */
  readonly resident?: boolean;
  /** argv of the program that the keepers run after an exit; the container's id is appended. This package's own where absent. */
  readonly exitCommand?: readonly string[];
  readonly keel?: Keel;
}

/** The engine on one data root. Any number of them, in any number of processes, may work on the same one at once. */
export class Engine implements t.EngineApi {
  readonly images: Images;
  readonly volumes: Volumes;
  readonly #parts: Parts;
  readonly #background: Background;
  #looked: Promise<unknown> | undefined;

  private constructor(parts: Parts, images: Images, background: Background) {
    this.#parts = parts;
    this.#background = background;
    this.images = images;
    this.volumes = parts.volumes;
  }

  /** Opens or makes the data root. Takes a few milliseconds; starts no process. */
  static open(options: EngineOptions): Engine {
    const { paths, resident = false } = options;
    const db = openStore(paths);
    const [leases, trash, records, events] = [new Leases(db), new Trash(paths), new Records(db), new Events(db)];
    const [facts, keel] = [hostFacts(), options.keel ?? Keel.spawn()];
    const ids = idMapOf(facts);
    const snapshotter = new LazySnapshotter({ keel, root: paths.root, ...(ids && { ids }) });
    const images = new RecordedImages(
      {
        ...{ paths, db, leases, snapshotter },
        users: (imageId) => records.usersOf(imageId),
        ...(options.registries && { registries: options.registries }),
      },
      events,
    );
    const network = new NetworkModes({
      bridge: new BridgeNetwork(db, options.network),
      ...{ keel, arch: facts.arch },
      filesOf: (reference) => containerPaths(paths, records.find(reference).id),
    });
    const background = new Background();
    const parts: Parts = {
      ...{ paths, db, leases, trash, records, events, keel, facts, network, resident },
      volumes: new Volumes({ db, events, leases, trash, paths }),
      images: new ImageRoots(images, snapshotter),
      exitCommand: options.exitCommand ?? defaultExitCommand(paths),
      restartLater: (id) => background.run(async (context) => restartWhenDue(parts, context, id)),
    };
    return new Engine(parts, images, background);
  }

  async create(context: Context, config: t.ContainerConfig): Promise<{ id: string; warnings: readonly string[] }> {
    await this.#firstLook(context);
    return context.span('create', async () => create(this.#parts, context, config));
  }

  async start(context: Context, id: string, options?: StartOptions): Promise<t.Attachment | undefined> {
    return context.span('start', async () => start(this.#parts, context, id, options));
  }

  async attach(
    context: Context,
    id: string,
    options: { stdin: boolean; stdout: boolean; stderr: boolean },
  ): Promise<t.Attachment> {
    return attach(this.#parts, context, id, options);
  }

  async exec(context: Context, id: string, config: t.ExecConfig): Promise<t.Attachment> {
    return context.span('exec', async () => exec(this.#parts, context, id, config));
  }

  async list(
    context: Context,
    options?: { all?: boolean; filters?: t.Filters; size?: boolean; last?: number },
  ): Promise<readonly t.Container[]> {
    return list(this.#parts, context, options);
  }

  async inspect(context: Context, id: string, options?: { size?: boolean }): Promise<t.Container> {
    return inspect(this.#parts, context, id, options);
  }

  logs(context: Context, id: string, options?: t.LogOptions): AsyncGenerator<t.LogEntry> {
    return containerLogs(this.#parts, context, id, options);
  }

  async stop(context: Context, id: string, options?: StopOptions): Promise<void> {
    return context.span('stop', async () => stop(this.#parts, context, id, options));
  }

  async restart(context: Context, id: string, options?: StopOptions): Promise<void> {
    return context.span('restart', async () => restart(this.#parts, context, id, options));
  }

  async kill(context: Context, id: string, signal?: string): Promise<void> {
    return kill(this.#parts, context, id, signal);
  }

  async wait(context: Context, id: string, condition?: 'not-running' | 'next-exit' | 'removed'): Promise<number> {
    return wait(this.#parts, context, id, condition);
  }

  async remove(context: Context, id: string, options?: { force?: boolean; volumes?: boolean }): Promise<void> {
    return context.span('remove', async () => remove(this.#parts, context, id, options));
  }

  async rename(context: Context, id: string, name: string): Promise<void> {
    return rename(this.#parts, context, id, name);
  }

  async pause(context: Context, id: string): Promise<void> {
    return pause(this.#parts, context, id);
  }

  async unpause(context: Context, id: string): Promise<void> {
    return unpause(this.#parts, context, id);
  }

  async update(
    context: Context,
    id: string,
    change: { resources?: t.Resources; restart?: t.RestartPolicy },
  ): Promise<readonly string[]> {
    return update(this.#parts, context, id, change);
  }

  async top(context: Context, id: string, psArgs?: readonly string[]): Promise<ProcessTable> {
    return top(this.#parts, context, id, psArgs);
  }

  stats(context: Context, id: string, options?: { stream?: boolean }): AsyncGenerator<t.Stats> {
    return stats(this.#parts, context, id, options);
  }

  /** Removes containers that don't run and match `filters` (`label`, `label!`, `until`). */
  async prune(context: Context, filters?: t.Filters): Promise<Pruned> {
    return prune(this.#parts, context, filters);
  }

  async diff(context: Context, id: string): Promise<readonly t.DiffEntry[]> {
    return diff(this.#parts, context, id);
  }

  async copyFrom(
    context: Context,
    id: string,
    path: string,
  ): Promise<{ stat: t.PathStat; tar: AsyncIterable<Uint8Array> }> {
    return copyFrom(this.#parts, context, id, path);
  }

  async copyTo(
    context: Context,
    id: string,
    directory: string,
    tar: AsyncIterable<Uint8Array>,
    options?: { noOverwriteDirNonDir?: boolean; copyUidGid?: boolean },
  ): Promise<void> {
    return copyTo(this.#parts, context, id, directory, tar, options);
  }

  async statPath(context: Context, id: string, path: string): Promise<t.PathStat> {
    return statPath(this.#parts, context, id, path);
  }

  export(context: Context, id: string): AsyncIterable<Uint8Array> {
    return exportContainer(this.#parts, context, id);
  }

  async commit(context: Context, id: string, options: CommitOptions): Promise<string> {
    return commit(this.#parts, context, id, options);
  }

  events(
    context: Context,
    options?: { since?: number; until?: number; filters?: t.Filters },
  ): AsyncGenerator<t.EngineEvent> {
    // An exit that nobody deals with becomes an event when somebody looks.
    const look = async (): Promise<void> => {
      await reconcile(this.#parts, context);
    };
    return this.#parts.events.stream(context, options, { look, watch: [exitsFolder(this.#parts.paths)] });
  }

  async explain(context: Context, config: t.ContainerConfig): Promise<Plan> {
    return explain(this.#parts, context, config);
  }

  /** What the keepers' exit command calls: records the exit, and does what the container's configuration says must follow. */
  async exited(context: Context, id: string): Promise<void> {
    return exited(this.#parts, context, id);
  }

  async reconcile(context: Context): Promise<void> {
    const [first] = await context.span('reconcile', async () => reconcile(this.#parts, context));
    if (first !== undefined) throw first;
  }

  /** Once: what is left of processes that died, so that names and addresses are free. What can't be put in order must not keep anybody from working. */
  async #firstLook(context: Context): Promise<void> {
    this.#looked ??= reconcileContainers(this.#parts, context);
    await this.#looked.catch(() => {});
  }

  /** Ends what this process has started for itself. Containers live on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#background.close();
    this.images[Symbol.dispose]();
    await this.#parts.keel.close();
    this.#parts.db.close();
  }

  /** The same for a process that exits at once: what goes with it is not waited for. */
  async leave(): Promise<void> {
    await this.#background.close();
    this.images[Symbol.dispose]();
    this.#parts.db.leave();
  }
}

/** The command line of this package: the bundle, or from the sources its main module. */
function defaultExitCommand(paths: Paths): readonly string[] {
  const candidates = ['./keelson.mjs', '../keelson.mjs', '../../dist/keelson.mjs', '../cli/main.ts'];
  const files = candidates.map((name) => fileURLToPath(new URL(name, import.meta.url)));
  const program = files.find((file) => existsSync(file)) ?? process.argv[1] ?? 'keelson';
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', program];
  return [...node, '--root', paths.root, '--run', paths.run, 'container-exited'];
}
