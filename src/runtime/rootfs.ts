/** The container's root: mounted privately in its own mount namespace, so that it vanishes with the container. */
import {
  AT_FDCWD,
  MNT_DETACH,
  MOUNT_ATTR_RDONLY,
  MS_PRIVATE,
  MS_REC,
  MS_SHARED,
  MS_SLAVE,
  MS_UNBINDABLE,
  O_CLOEXEC,
  O_PATH,
  openFlags,
} from '../kernel/constants.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import { attach, cloneHostTree, makeFilesystem, setAttributes } from './filesystem.ts';
import { openHost } from './in-root.ts';

/** Where the files come from. Directories of `lower` are topmost first. */
export type RootSource =
  | {
      readonly kind: 'overlay';
      readonly lower: readonly string[];
      readonly upper: string;
      readonly work: string;
      readonly userxattr?: boolean;
    }
  | { readonly kind: 'bind'; readonly path: string }
  | SplitRoot;

/**
 * A root put together from overlays of single directories: for the machine's own root in a user namespace, where `/` as a
 * whole can't be a lower directory (its submounts are locked there, mount_namespaces(7)). A directory for which that holds too
 * is shown read-only as it is.
 */
export interface SplitRoot {
  readonly kind: 'split';
  readonly overlays: readonly {
    readonly name: string;
    readonly lower: string;
    readonly upper: string;
    readonly work: string;
  }[];
  readonly links: readonly { readonly name: string; readonly target: string }[];
  /** Empty directories, with their modes. */
  readonly directories: readonly { readonly name: string; readonly mode: number }[];
}

/** What the kernel offers for stacking: `lowerdir+` needs Linux 6.7, before that all lower directories go into one option string. */
export interface RootOptions {
  readonly source: RootSource;
  /** A directory of the host on which the root is mounted, inside the new mount namespace only. */
  readonly mountPoint: string;
  readonly propagation: string | undefined;
  readonly lowerdirPlus: boolean;
}

const propagations: Readonly<Record<string, number>> = {
  shared: MS_SHARED,
  rshared: MS_SHARED | MS_REC,
  slave: MS_SLAVE,
  rslave: MS_SLAVE | MS_REC,
  private: MS_PRIVATE,
  rprivate: MS_PRIVATE | MS_REC,
  unbindable: MS_UNBINDABLE,
  runbindable: MS_UNBINDABLE | MS_REC,
};

/** In the child, first of all: nothing that is mounted from here on may travel to the host. The default is rslave, as runc's. */
export function isolateMounts(
  b: PlanBuilder,
  propagation: string | undefined,
  { pivot }: { readonly pivot: boolean } = { pivot: true },
): void {
  b.group('root file system').doing('making the mount namespace private');
  // Without a pivot mounts of the host are unmounted here, and would be there, too.
  const chosen = pivot || propagation?.endsWith('private') ? propagation : undefined;
  // What can't be bound could not become the root either; it is made so at the end.
  const wanted = chosen?.endsWith('unbindable') ? 'rprivate' : chosen;
  const flags = propagations[wanted ?? 'rslave'] ?? MS_SLAVE | MS_REC;
  // The mount that the root lies in is never left shared with the host, whichever it is.
  b.sys('mount', [0, '/', 0, flags & (MS_PRIVATE | MS_SLAVE) ? flags | MS_REC : flags, 0]);
}

/** Mounts the root on `mountPoint`; returns a descriptor of its top directory. */
export function mountRoot(b: PlanBuilder, options: RootOptions): Reg {
  const { O_DIRECTORY } = openFlags(b.arch);
  b.group('root file system').doing('mounting the root file system');
  const { source, mountPoint } = options;
  if (source.kind === 'split') return mountSplit(b, source, mountPoint);
  if (source.kind === 'overlay' && !options.lowerdirPlus) return legacyOverlay(b, source, mountPoint);
  const fd =
    source.kind === 'bind'
      ? cloneHostTree(b, source.path, { recursive: true })
      : makeFilesystem(b, 'overlay', overlayOptions(source), 0);
  if (source.kind === 'bind') {
    // A slave goes on to receive what the host mounts in there.
    const slave = /^r?slave$/.test(options.propagation ?? '');
    setAttributes(b, fd, { propagation: slave ? MS_SLAVE : MS_PRIVATE, recursive: true });
  }
  const target = openHost(b, mountPoint, O_PATH | O_DIRECTORY);
  attach(b, fd, target);
  b.sys('close', [target]);
  return fd;
}

function mountSplit(b: PlanBuilder, source: SplitRoot, mountPoint: string): Reg {
  const { O_DIRECTORY } = openFlags(b.arch);
  const root = makeFilesystem(b, 'tmpfs', ['source=host', 'mode=755'], 0);
  const target = openHost(b, mountPoint, O_PATH | O_DIRECTORY);
  attach(b, root, target);
  b.sys('close', [target]);
  for (const { name, target: to } of source.links) b.sys('symlinkat', [to, root, name]);
  for (const { name, mode } of source.directories) {
    b.sys('mkdirat', [root, name, mode]);
    b.sys('fchmodat', [root, name, mode]);
  }
  for (const { name, lower, upper, work } of source.overlays) {
    b.doing(`mounting an overlay of ${lower}`);
    b.sys('mkdirat', [root, name, 0o755]);
    const place = b.sys('openat', [root, name, O_PATH | O_DIRECTORY | O_CLOEXEC]);
    const [locked, done] = [b.label(), b.label()];
    // Not lowerdir+, which an older kernel refuses with the EINVAL that is taken for locked submounts.
    const words = [
      'source=overlay',
      `lowerdir=${escapeColons(lower)}`,
      `upperdir=${upper}`,
      `workdir=${work}`,
      'userxattr',
    ];
    const overlay = makeFilesystem(b, 'overlay', words, 0, { EINVAL: locked });
    attach(b, overlay, place);
    b.sys('close', [overlay]);
    b.jump(done);
    b.place(locked);
    const tree = cloneHostTree(b, lower, { recursive: true });
    setAttributes(b, tree, { set: MOUNT_ATTR_RDONLY, propagation: MS_PRIVATE, recursive: true });
    attach(b, tree, place);
    b.sys('close', [tree]);
    b.place(done);
    b.sys('close', [place]);
  }
  return root;
}

function overlayOptions(source: RootSource & { kind: 'overlay' }): string[] {
  const options = ['source=overlay', ...source.lower.map((directory) => `lowerdir+=${directory}`)];
  options.push(`upperdir=${source.upper}`, `workdir=${source.work}`);
  if (source.userxattr) options.push('userxattr');
  return options;
}

/** mount(2) takes a page of options; relative names from the directory that all share keep long stacks within it. */
function legacyOverlay(b: PlanBuilder, source: RootSource & { kind: 'overlay' }, mountPoint: string): Reg {
  const { O_DIRECTORY } = openFlags(b.arch);
  const base = commonDirectory([...source.lower, source.upper, source.work]);
  const short = (path: string) => escapeColons(base === '/' ? path : path.slice(base.length + 1) || '.');
  const words = [
    `lowerdir=${source.lower.map(short).join(':')}`,
    `upperdir=${short(source.upper)}`,
    `workdir=${short(source.work)}`,
    ...(source.userxattr ? ['userxattr'] : []),
  ];
  if (base !== '/') b.sys('chdir', [base]);
  b.sys('mount', ['overlay', mountPoint, 'overlay', 0, words.join(',')]);
  return openHost(b, mountPoint, O_PATH | O_DIRECTORY);
}

function commonDirectory(paths: readonly string[]): string {
  const split = paths.map((p) => p.split('/').slice(0, -1));
  const first = split[0] ?? [];
  let depth = 0;
  while (depth < first.length && split.every((s) => s[depth] === first[depth])) depth++;
  return first.slice(0, depth).join('/') || '/';
}

function escapeColons(path: string): string {
  return path.replace(/[\\:,]/g, (c) => `\\${c}`);
}

/** Read-only, if asked for, when everything inside has been made. */
export function sealRoot(b: PlanBuilder, root: Reg): void {
  b.group('root file system').doing('making the root file system read-only');
  setAttributes(b, root, { set: MOUNT_ATTR_RDONLY });
}

/**
 * pivot_root(".", "."): the old root ends up on top of the new one and is detached, so that no path is needed for it
 * (pivot_root(2), notes). It is made a slave first: detaching must not unmount anything of the host.
 */
export function pivotRoot(b: PlanBuilder, root: Reg, propagation: string | undefined): void {
  const { O_DIRECTORY } = openFlags(b.arch);
  b.group('root file system').doing('pivoting into the root file system');
  const old = b.sys('openat', [AT_FDCWD, '/', O_PATH | O_DIRECTORY | 0o2000000, 0]);
  b.sys('fchdir', [root]);
  b.sys('pivot_root', ['.', '.']);
  b.sys('fchdir', [old]);
  b.sys('mount', [0, '.', 0, MS_SLAVE | MS_REC, 0]);
  b.sys('umount2', ['.', MNT_DETACH]);
  b.sys('chdir', ['/']);
  b.sys('close', [old]);
  if (propagation && propagations[propagation] !== undefined) {
    b.sys('mount', [0, '/', 0, propagations[propagation], 0]);
  }
}

/** `--no-pivot`: for roots on a ramdisk, which can't be pivoted from. The old root stays mounted underneath, out of reach of `..`. */
export function moveRoot(b: PlanBuilder, root: Reg, bare: readonly string[]): void {
  const MS_MOVE = 8192;
  b.group('root file system').doing('moving the root file system');
  // A procfs without masks that stays mounted would let the container mount another one like it.
  for (const path of bare) b.sys('umount2', [path, MNT_DETACH], { on: { EINVAL: 'continue', ENOENT: 'continue' } });
  b.sys('fchdir', [root]);
  b.sys('mount', ['.', '/', 0, MS_MOVE, 0]);
  enterRoot(b, root);
}

/** Without a mount namespace of its own: the root's mounts stay where the host sees them, as with runc. */
export function enterRoot(b: PlanBuilder, root: Reg): void {
  b.group('root file system').doing('entering the root file system');
  b.sys('fchdir', [root]);
  b.sys('chroot', ['.']);
  b.sys('chdir', ['/']);
}
