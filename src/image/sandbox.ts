import { capabilityNumber } from '../kernel/capabilities.ts';
import {
  AT_FDCWD,
  CLONE_NEWNS,
  CLONE_NEWUSER,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MS_PRIVATE,
  MS_REC,
  O_PATH,
  openFlags,
  PR_SET_DUMPABLE,
  PR_SET_PDEATHSIG,
  SIGKILL,
} from '../kernel/constants.ts';
import { hostFacts } from '../kernel/facts.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import { cloneTree, setAttributes } from '../runtime/filesystem.ts';
import { openHost, openIn } from '../runtime/in-root.ts';
import { mountRoot, type RootSource } from '../runtime/rootfs.ts';
import { capset, installSeccomp, noNewPrivileges } from '../runtime/security.ts';
import { socketPair } from '../runtime/stdio.ts';
import { type IdMapper, mapIds } from '../runtime/userns-steps.ts';
import { sandboxFilter } from './sandbox-filter.ts';
import type { LinuxIdMapping } from '../spec/runtime.ts';

/** A user namespace of the sandbox's own, for who is not the machine's root. */
export interface SandboxIds {
  readonly uids: readonly LinuxIdMapping[];
  readonly gids: readonly LinuxIdMapping[];
  readonly mapper: IdMapper;
}

/** What the sandboxed process sees as its whole file system. */
export type Place =
  /** A directory of the host, without what is mounted in it. */
  | { readonly kind: 'directory'; readonly path: string }
  /** What a running process sees, all its mounts included. Its pid can't have been given to another: the caller holds it. */
  | { readonly kind: 'process'; readonly pid: number; readonly userNamespace?: boolean }
  /** A container's root, mounted for this only, on an empty directory of the host. `more` may mount further things in it. */
  | {
      readonly kind: 'root';
      readonly source: RootSource;
      readonly mountPoint: string;
      readonly lowerdirPlus: boolean;
      readonly more?: (b: PlanBuilder, root: Reg) => void;
    };

export interface SandboxOptions {
  readonly place: Place;
  /** A directory of the place to work in, found as a process inside would find it; its top where absent. */
  readonly at?: string;
  readonly ids?: SandboxIds | undefined;
  /** Names without CAP_. */
  readonly capabilities: readonly string[];
}

/** Making files of any owner, mode and kind takes these. Not SYS_ADMIN: trusted.* attributes are set by others, see overlay-marks.ts. */
export const makingCapabilities: readonly string[] = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'MKNOD', 'SETFCAP'];
/** Reading anything. With `marks`, also overlayfs' own: SYS_ADMIN for trusted.* attributes. */
export const readingCapabilities: readonly string[] = ['DAC_READ_SEARCH'];
export const markReadingCapabilities: readonly string[] = ['DAC_READ_SEARCH', 'SYS_ADMIN'];

/**
 * Runs `body` in a process of its own that is confined to a place: without devices, setuid or execution, with few capabilities and system
 * calls (sandbox-filter.ts), and no way to gain more. Where mount namespaces can't be had it is in a chroot only, and where that can't be
 * had it relies on the operation's own resolution beneath its directory. `body` gets that directory, opened from inside (O_PATH).
 */
export function sandboxed(b: PlanBuilder, options: SandboxOptions, body: (directory: Reg) => void): void {
  const { ids, place } = options;
  b.group('sandbox').doing('making the sandbox');
  inChild(b, ids, () => {
    enter(b, place);
    b.doing(`opening ${options.at ?? 'the directory'}`);
    const flags = O_PATH | openFlags(b.arch).O_DIRECTORY;
    const directory =
      options.at === undefined ? openHost(b, '.', flags) : openIn(b, openHost(b, '/', flags), options.at, { flags });
    noNewPrivileges(b);
    // The bounding set may stay: with no_new_privs not even an execve brings back what is dropped here.
    const { effective } = hostFacts().capabilities;
    const kept = options.capabilities.map((name) => capabilityNumber(name) as number);
    const sets = ids ? kept : kept.filter((c) => effective.includes(c));
    b.doing('dropping capabilities');
    capset(b, sets, sets, []);
    const filter = sandboxFilter();
    if (filter) installSeccomp(b, filter.filter, filter.flags);
    body(directory);
  });
}

/** Runs `body` in a process of its own, which ends with this one; with `ids` as root of a new user namespace. Goes on when it has ended. */
export function inChild(b: PlanBuilder, ids: SandboxIds | undefined, body: () => void): void {
  const link = ids && socketPair(b, 'link');
  const child = b.clone({ flags: ids ? CLONE_NEWUSER | CLONE_NEWNS : 0n, name: 'sandbox', pidfd: false }, () => {
    b.sys('prctl', [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]);
    if (link) becomeMapped(b, link);
    body();
  });
  if (ids && link) {
    b.sys('close', [link.child]);
    const failed = b.label();
    b.branch(b.sys('read', [link.parent, b.blob(1), 1]), '!=', 1, failed);
    mapIds(b, child.pid, ids.uids, ids.gids, ids.mapper);
    b.write(link.parent, 'g', { on: { EPIPE: 'continue', ECONNRESET: 'continue' } });
    b.place(failed);
  }
  b.group('sandbox').doing('waiting for the sandbox');
  b.await(child.report);
  const status = b.blob(8, 'status');
  b.sys('wait4', [child.pid, status, 0, 0]);
  const done = b.label();
  b.branch(b.peek(status, 4, 'status'), '==', 0, done);
  b.fail('ECHILD', 'the sandboxed process was killed');
  b.place(done);
}

/** Waits for the map, then becomes the namespace's root. Its files in /proc belong to root until it is dumpable, as keel is not. */
function becomeMapped(b: PlanBuilder, link: { parent: Reg; child: Reg }): void {
  b.sys('close', [link.parent]);
  b.sys('prctl', [PR_SET_DUMPABLE, 1, 0, 0, 0]);
  b.write(link.child, 'r');
  const mapped = b.label();
  b.branch(b.sys('read', [link.child, b.blob(1), 1]), '==', 1, mapped);
  b.fail('ECONNABORTED', 'waiting for the map of IDs');
  b.place(mapped);
  becomeRoot(b);
  b.sys('prctl', [PR_SET_DUMPABLE, 0, 0, 0, 0]);
}

function becomeRoot(b: PlanBuilder): void {
  b.sys('setresgid', [0, 0, 0]);
  b.sys('setresuid', [0, 0, 0]);
}

const confinement = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

/** The place becomes `/` and the working directory. */
function enter(b: PlanBuilder, place: Place): void {
  switch (place.kind) {
    case 'directory':
      return enterDirectory(b, place.path);
    case 'process': {
      b.doing(`joining process ${place.pid}`);
      const pidfd = b.sys('pidfd_open', [place.pid, 0]);
      b.sys('setns', [pidfd, place.userNamespace ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS]);
      b.sys('close', [pidfd]);
      if (place.userNamespace) becomeRoot(b);
      b.sys('unshare', [CLONE_NEWNS]);
      b.sys('mount', [0, '/', 0, MS_PRIVATE | MS_REC, 0]);
      const tree = cloneTree(b, AT_FDCWD, '/', { recursive: true });
      setAttributes(b, tree, { set: confinement, recursive: true });
      return enterTree(b, tree);
    }
    case 'root': {
      b.sys('unshare', [CLONE_NEWNS]);
      b.sys('mount', [0, '/', 0, MS_PRIVATE | MS_REC, 0]);
      const { source, mountPoint, lowerdirPlus } = place;
      const root = mountRoot(b, { source, mountPoint, propagation: undefined, lowerdirPlus });
      place.more?.(b, root);
      b.group('sandbox').doing('entering the root');
      setAttributes(b, root, { set: confinement, recursive: true });
      return enterTree(b, root);
    }
  }
}

function enterTree(b: PlanBuilder, tree: Reg): void {
  b.sys('fchdir', [tree]);
  b.sys('chroot', ['.']);
  b.sys('close', [tree]);
}

function enterDirectory(b: PlanBuilder, path: string): void {
  const [bare, done] = [b.label(), b.label()];
  b.doing(`entering ${path}`);
  b.sys('unshare', [CLONE_NEWNS], { on: { EPERM: bare } });
  b.sys('mount', [0, '/', 0, MS_PRIVATE | MS_REC, 0], { on: { EPERM: bare, EACCES: bare } });
  const tree = cloneTree(b, AT_FDCWD, path, { on: { EPERM: bare, ENOSYS: bare } });
  setAttributes(b, tree, { set: confinement }, { on: { ENOSYS: 'continue' } });
  enterTree(b, tree);
  b.jump(done);
  b.place(bare);
  b.sys('chdir', [path]);
  b.sys('chroot', ['.'], { on: { EPERM: 'continue' } });
  b.place(done);
}
