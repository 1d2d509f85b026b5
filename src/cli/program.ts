import type { Command } from './command.ts';

/** A word of the command line: a command, loaded when it is used, or a group of them. */
export interface Entry {
  readonly about: string;
  readonly load?: () => Promise<{ readonly command: Command }>;
  readonly commands?: Readonly<Record<string, Entry>>;
  /** Left out of the help text. */
  readonly hidden?: boolean;
  /** Other words for the same. */
  readonly aliases?: readonly string[];
}

const entry = (about: string, load: Entry['load'], aliases: readonly string[] = []): Entry => ({
  about,
  aliases,
  ...(load && { load }),
});

const attach = entry(
  'Attach local standard input, output, and error streams to a running container',
  () => import('./commands/attach.ts'),
);
const commit = entry("Create a new image from a container's changes", () => import('./commands/commit.ts'));
const cp = entry('Copy files/folders between a container and the local filesystem', () => import('./commands/cp.ts'));
const create = entry('Create a new container', () => import('./commands/create.ts'));
const diff = entry(
  "Inspect changes to files or directories on a container's filesystem",
  () => import('./commands/diff.ts'),
);
const events = entry('Get real time events', () => import('./commands/events.ts'));
const exec = entry('Execute a command in a running container', () => import('./commands/exec.ts'));
const exportContainer = entry("Export a container's filesystem as a tar archive", () => import('./commands/export.ts'));
const history = entry('Show the history of an image', () => import('./commands/history.ts'));
const importImage = entry(
  'Import the contents from a tarball to create a filesystem image',
  () => import('./commands/import.ts'),
);
const info = entry('Display system-wide information', () => import('./commands/info.ts'));
const kill = entry('Kill one or more running containers', () => import('./commands/kill.ts'));
const load = entry('Load an image from a tar archive or STDIN', () => import('./commands/load.ts'));
const logs = entry('Fetch the logs of a container', () => import('./commands/logs.ts'));
const pause = entry('Pause all processes within one or more containers', () => import('./commands/pause.ts'));
const port = entry('List port mappings or a specific mapping for the container', () => import('./commands/port.ts'));
const pull = entry('Download an image from a registry', () => import('./commands/pull.ts'));
const push = entry('Upload an image to a registry', () => import('./commands/push.ts'));
const rename = entry('Rename a container', () => import('./commands/rename.ts'));
const restart = entry('Restart one or more containers', () => import('./commands/restart.ts'));
const rm = entry('Remove one or more containers', () => import('./commands/rm.ts'), ['remove']);
const rmi = entry('Remove one or more images', () => import('./commands/rmi.ts'));
const run = entry('Create and run a new container from an image', () => import('./commands/run.ts'));
const save = entry(
  'Save one or more images to a tar archive (streamed to STDOUT by default)',
  () => import('./commands/save.ts'),
);
const start = entry('Start one or more stopped containers', () => import('./commands/start.ts'));
const stats = entry(
  'Display a live stream of container(s) resource usage statistics',
  () => import('./commands/stats.ts'),
);
const stop = entry('Stop one or more running containers', () => import('./commands/stop.ts'));
const tag = entry('Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE', () => import('./commands/tag.ts'));
const top = entry('Display the running processes of a container', () => import('./commands/top.ts'));
const unpause = entry('Unpause all processes within one or more containers', () => import('./commands/unpause.ts'));
const update = entry('Update configuration of one or more containers', () => import('./commands/update.ts'));
const wait = entry(
  'Block until one or more containers stop, then print their exit codes',
  () => import('./commands/wait.ts'),
);
const ps = (() => import('./commands/ps.ts')) satisfies Entry['load'];
const images = (() => import('./commands/images.ts')) satisfies Entry['load'];

const container: Entry = {
  about: 'Manage containers',
  commands: {
    attach,
    commit,
    cp,
    create,
    diff,
    exec,
    export: exportContainer,
    inspect: entry(
      'Display detailed information on one or more containers',
      () => import('./commands/container-inspect.ts'),
    ),
    kill,
    logs,
    ls: entry('List containers', ps, ['list', 'ps']),
    pause,
    port,
    prune: entry('Remove all stopped containers', () => import('./commands/container-prune.ts')),
    rename,
    restart,
    rm,
    run,
    start,
    stats,
    stop,
    top,
    unpause,
    update,
    wait,
  },
};

const image: Entry = {
  about: 'Manage images',
  commands: {
    history,
    import: importImage,
    inspect: entry('Display detailed information on one or more images', () => import('./commands/image-inspect.ts')),
    load,
    ls: entry('List images', images, ['list']),
    prune: entry('Remove unused images', () => import('./commands/image-prune.ts')),
    pull,
    push,
    rm: { ...rmi, aliases: ['remove'] },
    save,
    tag,
  },
};

const volume: Entry = {
  about: 'Manage volumes',
  commands: {
    create: entry('Create a volume', () => import('./commands/volume-create.ts')),
    inspect: entry('Display detailed information on one or more volumes', () => import('./commands/volume-inspect.ts')),
    ls: entry('List volumes', () => import('./commands/volume-ls.ts'), ['list']),
    prune: entry('Remove unused local volumes', () => import('./commands/volume-prune.ts')),
    rm: entry('Remove one or more volumes', () => import('./commands/volume-rm.ts'), ['remove']),
  },
};

const system: Entry = {
  about: 'Manage Keelson',
  commands: {
    df: entry('Show disk usage', () => import('./commands/system-df.ts')),
    events,
    info,
    prune: entry('Remove unused data', () => import('./commands/system-prune.ts')),
  },
};

/** The root's words, in the sections of its help text. */
export const sections: readonly { readonly title: string; readonly names: readonly string[] }[] = [
  {
    title: 'Common Commands',
    names: ['run', 'exec', 'ps', 'pull', 'push', 'images', 'login', 'logout', 'version', 'info'],
  },
  { title: 'Seeing what a container is', names: ['demo', 'explain', 'doctor'] },
  { title: 'Management Commands', names: ['container', 'image', 'system', 'volume'] },
];

export const root: Entry = {
  about: 'The Linux container stack, from the command line to the kernel',
  commands: {
    attach,
    commit,
    container,
    'container-exited': { ...entry('', () => import('./commands/container-exited.ts')), hidden: true },
    cp,
    create,
    demo: entry(
      'Run a container from this machine’s own root and show every layer at work',
      () => import('./commands/demo.ts'),
    ),
    diff,
    doctor: entry('Say what this machine offers containers and what is missing', () => import('./commands/doctor.ts')),
    events,
    exec,
    explain: entry(
      'Print the kernel operations of a container without running it',
      () => import('./commands/explain.ts'),
    ),
    export: exportContainer,
    history,
    image,
    images: entry('List images', images),
    import: importImage,
    info,
    inspect: entry(
      'Return low-level information on containers, images and volumes',
      () => import('./commands/inspect.ts'),
    ),
    kill,
    load,
    login: entry('Authenticate to a registry', () => import('./commands/login.ts')),
    logout: entry('Log out from a registry', () => import('./commands/logout.ts')),
    logs,
    pause,
    port,
    ps: entry('List containers', ps),
    pull,
    push,
    rename,
    restart,
    rm: { ...rm, aliases: [] },
    rmi,
    run,
    save,
    start,
    stats,
    stop,
    system,
    tag,
    top,
    unpause,
    update,
    version: entry('Show the Keelson version information', () => import('./commands/version.ts')),
    volume,
    wait,
  },
};

/** The entry of `name` within `group`, by its name or another word for it. */
export function findEntry(group: Entry, name: string): Entry | undefined {
  const { commands = {} } = group;
  if (Object.hasOwn(commands, name)) return commands[name];
  return Object.values(commands).find((candidate) => candidate.aliases?.includes(name));
}
