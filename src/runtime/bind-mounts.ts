/** Bind mounts: what is mounted elsewhere, or only its attributes (`remount`). */
import { lstatSync, readlinkSync, statfsSync, statSync } from 'node:fs';
import { KeelsonError } from '../ground/errors.ts';
import {
  AT_SYMLINK_NOFOLLOW,
  CLONE_NEWNS,
  MS_PRIVATE,
  MS_REC,
  O_PATH,
  O_RDONLY,
  openFlags,
} from '../kernel/constants.ts';
import type { MountOptions } from '../kernel/mount-flags.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Mount } from '../spec/runtime.ts';
import { attach, cloneHostTree, setAttributes } from './filesystem.ts';
import { ensureDirectory, ensureFile, openHost, openIn, type EnsureOptions } from './in-root.ts';
import { type MountFacts, placeOf, procMagic, refuseProc } from './mount-places.ts';

/** struct stat: st_mode. */
const statMode = { x86_64: 24, aarch64: 16 } as const;
const S_IFMT_FILE = 0o170000;
const S_IFDIR = 0o040000;

/** The mount's descriptor; nothing for a link that was copied. */
export function mountBind(
  b: PlanBuilder,
  root: Reg,
  mount: Mount,
  options: MountOptions,
  facts: MountFacts,
): Reg | undefined {
  const source = mount.source ?? '';
  const place = placeOf(mount.destination);
  const link = options.copySymlink ? linkAt(source) : undefined;
  if (link !== undefined) {
    copyLink(b, root, place, link);
    return undefined;
  }
  if (place === '/proc') checkProcfs(source);
  const tree = facts.fromExecutor?.(mount) ?? openSource(b, mount, options);
  const target = bindTarget(b, root, mount, options, facts, tree);
  refuseProc(b, target, place);
  applyAttributes(b, tree, options);
  attach(b, tree, target);
  setPropagation(b, tree, options.propagation ?? MS_PRIVATE | MS_REC);
  b.sys('close', [target]);
  return tree;
}

/** Detached. */
export function openSource(b: PlanBuilder, { source = '' }: Mount, options: MountOptions): Reg {
  const foreign = /^\/proc\/(\d+)\/root(\/.*)$/.exec(source);
  if (foreign?.[2]) return cloneForeignTree(b, Number(foreign[1]), foreign[2]);
  return cloneHostTree(b, source, {
    recursive: options.recursive,
    ...(options.sourceNoFollow && { flags: AT_SYMLINK_NOFOLLOW }),
  });
}

/** A directory for a directory; a file for all else, if nothing is there. */
function bindTarget(b: PlanBuilder, root: Reg, mount: Mount, options: MountOptions, facts: MountFacts, tree: Reg): Reg {
  const { source = '', destination } = mount;
  if (options.targetNoFollow) return openUnfollowed(b, root, placeOf(destination));
  const how: EnsureOptions = { dangling: facts.followDangling ? 'follow' : 'replace' };
  const directory = facts.sourceIsDirectory?.(source) ?? isDirectory(source, options);
  if (directory !== undefined) {
    return directory ? ensureDirectory(b, root, destination, how) : ensureFile(b, root, destination, how);
  }
  // A source that is only there once earlier mounts are.
  const [file, done] = [b.label(), b.label()];
  const stat = b.blob(144, 'struct stat');
  b.sys('fstat', [tree, stat]);
  const mode = b.peek({ ...stat, offset: statMode[b.arch] }, 2, 'mode');
  const kind = b.reg('target');
  b.branch(mode, '&', S_IFMT_FILE & ~S_IFDIR, file);
  b.set(kind, ensureDirectory(b, root, destination, how));
  b.jump(done);
  b.place(file);
  b.set(kind, ensureFile(b, root, destination, how));
  b.place(done);
  return kind;
}

/** What is there, be it a link; a file where nothing is. */
function openUnfollowed(b: PlanBuilder, root: Reg, place: string): Reg {
  const { O_NOFOLLOW } = openFlags(b.arch);
  const [missing, done] = [b.label(), b.label()];
  const fd = openIn(b, root, place, { flags: O_PATH | O_NOFOLLOW, on: { ENOENT: missing } });
  b.jump(done);
  b.place(missing);
  b.set(fd, ensureFile(b, root, place));
  b.place(done);
  return fd;
}

function copyLink(b: PlanBuilder, root: Reg, place: string, link: string): void {
  const slash = place.lastIndexOf('/');
  const parent = ensureDirectory(b, root, place.slice(0, slash) || '/');
  b.sys('symlinkat', [link, parent, place.slice(slash + 1)], { on: { EEXIST: 'continue' } });
  b.sys('close', [parent]);
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

/** Undefined when it isn't there yet, or can't be looked at from here. */
function isDirectory(source: string, options: MountOptions): boolean | undefined {
  try {
    return (options.sourceNoFollow ? lstatSync(source) : statSync(source)).isDirectory();
  } catch {
    return undefined;
  }
}

function linkAt(source: string): string | undefined {
  try {
    return readlinkSync(source);
  } catch {
    return undefined;
  }
}

/** Over /proc only a procfs may lie (CVE-2019-19921). */
function checkProcfs(source: string): void {
  let type: number | undefined;
  try {
    ({ type } = statfsSync(source));
  } catch {
    return; // mounting it tells why
  }
  if (type !== procMagic)
    throw new KeelsonError(
      'invalid-argument',
      `mounting ${source} on /proc: "/proc" cannot be mounted because it is not of type proc`,
    );
}

function applyAttributes(b: PlanBuilder, tree: Reg, options: MountOptions): void {
  if (options.set || options.clear) setAttributes(b, tree, { set: options.set, clear: options.clear });
  if (options.recursiveSet || options.recursiveClear) {
    setAttributes(b, tree, { set: options.recursiveSet, clear: options.recursiveClear, recursive: true });
  }
}

export function setPropagation(b: PlanBuilder, mount: Reg, flags: number): void {
  setAttributes(b, mount, { propagation: flags & ~MS_REC, recursive: (flags & MS_REC) !== 0 });
}

/** `remount`: what is mounted there already gets other attributes (mount(8), "bind remount"). */
export function remount(b: PlanBuilder, root: Reg, mount: Mount, options: MountOptions): void {
  const target = openIn(b, root, mount.destination, { flags: O_PATH });
  applyAttributes(b, target, options);
  if (options.propagation !== undefined) setPropagation(b, target, options.propagation);
  b.sys('close', [target]);
}
