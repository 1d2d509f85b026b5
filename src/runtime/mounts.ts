/** The mounts of a config, one after the other as the specification has them, each onto a descriptor inside the root. */
import { statSync } from 'node:fs';
import { KeelsonError } from '../ground/errors.ts';
import {
  CLONE_NEWNS,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MS_PRIVATE,
  MS_REC,
  O_PATH,
  O_RDONLY,
  openFlags,
} from '../kernel/constants.ts';
import { parseMountOptions, type MountOptions } from '../kernel/mount-flags.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Mount } from '../spec/runtime.ts';
import { attach, cloneHostTree, cloneTree, makeFilesystem, setAttributes } from './filesystem.ts';
import { ensureDirectory, ensureFile, followInRoot, noLinks, openHost, openIn } from './in-root.ts';

/** What the kernel lets this container mount, and where control groups are. */
export interface MountFacts {
  /** In a user namespace: /sys of a foreign network namespace can only be bind-mounted. */
  readonly userNamespace: boolean;
  readonly ownNetwork: boolean;
  readonly ownPids: boolean;
  readonly cgroup: {
    /** cgroup v2 alone; else every v1 hierarchy by its mount options, e.g. `{name: 'cpu', options: ['cpu']}`. */
    readonly unified: boolean;
    readonly hierarchies: readonly { readonly name: string; readonly options: readonly string[] }[];
    /** Without a cgroup namespace: the container's own directories, by the hierarchy's name ('' for version 2). */
    readonly own?: Readonly<Record<string, string>>;
  };
  /** Of sources that are only made when the container starts, for a plan that is looked at before; undefined for others. */
  readonly sourceIsDirectory?: (source: string) => boolean | undefined;
}

/** Descriptors of mounts that later steps write through. */
export interface Mounted {
  proc?: Reg;
  dev?: Reg;
  devpts?: Reg;
  /** /dev is another directory, mounted there: nothing is made in it. */
  bindDev?: boolean;
  /** /dev is to be read-only in the end. */
  sealDev?: boolean;
}

export function mountAll(b: PlanBuilder, root: Reg, mounts: readonly Mount[], facts: MountFacts): Mounted {
  const mounted: Mounted = {};
  for (const mount of mounts) {
    b.group('root file system').doing(`mounting ${mount.type ?? mount.source ?? ''} on ${mount.destination}`);
    const options = parseMountOptions(mount.options ?? []);
    if (options.bind || mount.type === 'bind') mountBind(b, root, mount, options, facts);
    else mountFilesystem(b, root, mount, options, facts, mounted);
  }
  return mounted;
}

function mountBind(b: PlanBuilder, root: Reg, mount: Mount, options: MountOptions, facts: MountFacts): void {
  const source = mount.source ?? '';
  const foreign = /^\/proc\/(\d+)\/root(\/.*)$/.exec(source);
  const tree = foreign?.[2]
    ? cloneForeignTree(b, Number(foreign[1]), foreign[2])
    : cloneHostTree(b, source, { recursive: options.recursive });
  const directory = facts.sourceIsDirectory?.(source) ?? isDirectory(source, mount.destination);
  const target = directory ? ensureDirectory(b, root, mount.destination) : ensureFile(b, root, mount.destination);
  applyAttributes(b, tree, options);
  attach(b, tree, target);
  setPropagation(b, tree, options.propagation ?? MS_PRIVATE | MS_REC);
  b.sys('close', [tree]);
  b.sys('close', [target]);
}

/**
 * A mount of another container, named as `/proc/<pid>/root/…` (its /dev/shm, for a shared IPC namespace): open_tree(2) copies
 * only what is in the caller's mount namespace, so the child goes there and comes back.
 */
function cloneForeignTree(b: PlanBuilder, pid: number, path: string): Reg {
  const here = openHost(b, '/proc/self/ns/mnt', O_RDONLY);
  const there = openHost(b, `/proc/${pid}/ns/mnt`, O_RDONLY);
  b.sys('setns', [there, CLONE_NEWNS]);
  const tree = cloneHostTree(b, path);
  b.sys('setns', [here, CLONE_NEWNS]);
  b.sys('close', [here]);
  b.sys('close', [there]);
  return tree;
}

function isDirectory(source: string, destination: string): boolean {
  try {
    return statSync(source).isDirectory();
  } catch (cause) {
    throw new KeelsonError('invalid-argument', `mounting ${source} on ${destination}: the source cannot be read`, {
      cause,
    });
  }
}

function mountFilesystem(
  b: PlanBuilder,
  root: Reg,
  mount: Mount,
  options: MountOptions,
  facts: MountFacts,
  mounted: Mounted,
): void {
  const type = mount.type ?? '';
  const special =
    ['proc', 'sysfs', 'devpts', 'mqueue', 'cgroup', 'cgroup2'].includes(type) ||
    /^\/(proc|sys|dev)$/.test(mount.destination);
  const inherits = type === 'tmpfs' && !options.data.some((word) => word.startsWith('mode='));
  const below = inherits ? openIn(b, root, mount.destination, { flags: O_PATH, on: { any: 'continue' } }) : undefined;
  const target = ensureDirectory(b, root, mount.destination, { resolve: special ? noLinks : followInRoot });
  // /dev is made read-only when its nodes are in it, a tmpfs when it has the mode of what it hides.
  const readOnly = (options.set & MOUNT_ATTR_RDONLY) !== 0;
  const isDev = readOnly && mount.destination === '/dev';
  const later = isDev || (readOnly && below !== undefined);
  const fd = makeTree(b, mount, later ? { ...options, set: options.set & ~MOUNT_ATTR_RDONLY } : options, facts);
  if (isDev) mounted.sealDev = true;
  if (below) likeBelow(b, below, fd);
  if (later && !isDev) setAttributes(b, fd, { set: MOUNT_ATTR_RDONLY });
  attach(b, fd, target);
  if (options.propagation !== undefined) setPropagation(b, fd, options.propagation);
  b.sys('close', [target]);
  if (type === 'cgroup' && !facts.cgroup.unified) mountHierarchies(b, fd, options, facts);
  if (type === 'cgroup') {
    if (!facts.cgroup.unified && options.set & MOUNT_ATTR_RDONLY) setAttributes(b, fd, { set: MOUNT_ATTR_RDONLY });
  }
  if (mount.destination === '/proc') mounted.proc = fd;
  else if (mount.destination === '/dev') mounted.dev = fd;
  else if (type === 'devpts') mounted.devpts = fd;
  else b.sys('close', [fd]);
}

/** A tmpfs for which no mode was asked has that of the directory it hides, if there was one. */
function likeBelow(b: PlanBuilder, below: Reg, fd: Reg): void {
  const none = b.label();
  b.branch(below, '<', 0, none);
  const stat = b.blob(144, 'struct stat');
  b.sys('fstat', [below, stat]);
  const mode = b.peek({ ...stat, offset: b.arch === 'x86_64' ? 24 : 16 }, 4, 'mode');
  b.sys('fchmodat', [fd, '.', mode]);
  b.sys('close', [below]);
  b.place(none);
}

function makeTree(b: PlanBuilder, mount: Mount, options: MountOptions, facts: MountFacts): Reg {
  const type = mount.type ?? '';
  const data = [...options.superblock, ...options.data];
  // The kernel refuses a new instance of these to a user namespace that doesn't own what they show.
  const foreign = (type === 'sysfs' && !facts.ownNetwork) || (type === 'proc' && !facts.ownPids);
  if (facts.userNamespace && foreign) {
    const tree = cloneHostTree(b, type === 'proc' ? '/proc' : '/sys', { recursive: true });
    setAttributes(
      b,
      tree,
      { set: options.set & MOUNT_ATTR_RDONLY, propagation: MS_PRIVATE, recursive: true },
      { on: { any: 'continue' } },
    );
    return tree;
  }
  if (type === 'cgroup' && !facts.cgroup.unified) {
    return makeFilesystem(
      b,
      'tmpfs',
      ['source=cgroup', 'mode=755'],
      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
    );
  }
  const own = type === 'cgroup' || type === 'cgroup2' ? facts.cgroup.own?.[''] : undefined;
  if (own !== undefined) return ownGroup(b, own, options);
  const name = type === 'cgroup' ? 'cgroup2' : type;
  if (mount.source) data.unshift(`source=${mount.source}`);
  return makeFilesystem(b, name, data, options.set);
}

/** The v1 view: a tmpfs with a directory a hierarchy, each showing the container's own part of it (its cgroup namespace). */
function mountHierarchies(b: PlanBuilder, tmpfs: Reg, options: MountOptions, facts: MountFacts): void {
  for (const { name, options: words } of facts.cgroup.hierarchies) {
    const own = facts.cgroup.own?.[name];
    b.doing(`mounting the cgroup hierarchy ${name}`);
    b.sys('mkdirat', [tmpfs, name, 0o755]);
    const type = words[0] === 'unified' ? 'cgroup2' : 'cgroup';
    const fd =
      own !== undefined
        ? ownGroup(b, own, options)
        : makeFilesystem(b, type, type === 'cgroup2' ? ['source=cgroup'] : ['source=cgroup', ...words], options.set);
    // Nobody but this process has seen the tmpfs yet, and its only entries are these directories.
    b.sys('move_mount', [fd, '', tmpfs, name, MOVE_MOUNT_F_EMPTY_PATH]);
    b.sys('close', [fd]);
  }
}

function ownGroup(b: PlanBuilder, directory: string, options: MountOptions): Reg {
  const tree = cloneHostTree(b, directory);
  setAttributes(b, tree, { set: options.set, propagation: MS_PRIVATE });
  return tree;
}

function applyAttributes(b: PlanBuilder, tree: Reg, options: MountOptions): void {
  if (options.set || options.clear) setAttributes(b, tree, { set: options.set, clear: options.clear });
  if (options.recursiveSet || options.recursiveClear) {
    setAttributes(b, tree, { set: options.recursiveSet, clear: options.recursiveClear, recursive: true });
  }
}

function setPropagation(b: PlanBuilder, mount: Reg, flags: number): void {
  setAttributes(b, mount, { propagation: flags & ~MS_REC, recursive: (flags & MS_REC) !== 0 });
}

/**
 * Hides files behind the host's /dev/null (`nul`, opened before anything of the container's could stand in its place,
 * CVE-2025-31133) and directories behind an empty read-only tmpfs. What isn't there needs no hiding.
 */
export function maskPaths(b: PlanBuilder, root: Reg, nul: Reg, paths: readonly string[]): void {
  if (paths.length === 0) return;
  const { O_DIRECTORY } = openFlags(b.arch);
  b.group('security').doing('making an empty directory to mask with');
  const empty = makeFilesystem(b, 'tmpfs', ['source=tmpfs', 'size=0'], MOUNT_ATTR_RDONLY);
  // It hides the first directory itself and is copied for the others: before Linux 6.15 only what is attached can be. Mounts that are
  // never attached are dear, as each waits for a grace period of RCU when it is closed.
  const used = b.reg('used');
  b.set(used, 0);
  for (const path of new Set(paths)) {
    b.doing(`masking ${path}`);
    const [file, copy, done, next] = [b.label(), b.label(), b.label(), b.label()];
    const missing = { ENOENT: next, EACCES: next, ELOOP: next };
    const target = openIn(b, root, path, { flags: O_PATH | O_DIRECTORY, on: { ...missing, ENOTDIR: file } });
    b.branch(used, '!=', 0, copy);
    b.set(used, 1);
    attach(b, empty, target);
    b.jump(done);
    b.place(copy);
    const tree = cloneTree(b, empty, '');
    attach(b, tree, target);
    b.sys('close', [tree]);
    b.jump(done);
    b.place(file);
    openIn(b, root, path, { flags: O_PATH, dst: target, on: { ...missing, ENOTDIR: next } });
    const hidden = cloneTree(b, nul, '');
    attach(b, hidden, target);
    b.sys('close', [hidden]);
    b.place(done);
    b.sys('close', [target]);
    b.place(next);
  }
  b.sys('close', [empty]);
}

/** Makes paths read-only by mounting them on themselves. */
export function protectPaths(b: PlanBuilder, root: Reg, paths: readonly string[]): void {
  b.group('security');
  for (const path of paths) {
    b.doing(`making ${path} read-only`);
    const next = b.label();
    const target = openIn(b, root, path, {
      flags: O_PATH,
      on: { ENOENT: next, ENOTDIR: next, EACCES: next, ELOOP: next },
    });
    const tree = cloneTree(b, target, '', { recursive: true });
    setAttributes(b, tree, { set: MOUNT_ATTR_RDONLY, recursive: true });
    attach(b, tree, target);
    b.sys('close', [tree]);
    b.sys('close', [target]);
    b.place(next);
  }
}
