/** The mounts of a config, one after the other as the specification has them, each onto a descriptor inside the root. */
import { MOUNT_ATTR_RDONLY, MS_PRIVATE, O_PATH } from '../kernel/constants.ts';
import { parseMountOptions, type MountOptions } from '../kernel/mount-flags.ts';
import type { BlobRef, Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Mount } from '../spec/runtime.ts';
import { mountBind, remount, setPropagation } from './bind-mounts.ts';
import { mountCgroups } from './cgroup-mounts.ts';
import { attach, cloneHostTree, makeFilesystem, setAttributes } from './filesystem.ts';
import { ensureDirectory, followInRoot, noLinks, openIn } from './in-root.ts';
import { checkPlace, type MountFacts, placeOf, refuseProc } from './mount-places.ts';
import { pipe } from './stdio.ts';

export type { MountFacts };

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

/** `root` is where the mounts go; a mount on `/` takes its place. */
export function mountAll(b: PlanBuilder, root: Reg, mounts: readonly Mount[], facts: MountFacts): Mounted {
  const mounted: Mounted = {};
  for (const mount of mounts) {
    const options = parseMountOptions(mount.options ?? []);
    const bind = options.bind || mount.type === 'bind';
    const what = (bind ? mount.source : mount.type) ?? '';
    b.group('root file system').doing(`mounting ${what} on ${mount.destination}`);
    checkPlace(mount, bind);
    if (options.remount) remount(b, root, mount, options);
    else
      keep(
        b,
        root,
        mount,
        bind ? mountBind(b, root, mount, options, facts) : mountFilesystem(b, root, mount, options, facts, mounted),
        bind,
        mounted,
      );
  }
  return mounted;
}

/** What becomes of a mount's descriptor. */
function keep(b: PlanBuilder, root: Reg, mount: Mount, fd: Reg | undefined, bind: boolean, mounted: Mounted): void {
  const place = placeOf(mount.destination);
  if (place === '/dev') mounted.bindDev = bind;
  if (!fd) return;
  if (place === '/') b.set(root, fd);
  else if (place === '/proc' && !bind) mounted.proc = fd;
  else if (place === '/dev' && !bind) mounted.dev = fd;
  else if (mount.type === 'devpts') mounted.devpts = fd;
  else b.sys('close', [fd]);
}

const kernelViews = ['proc', 'sysfs', 'devpts', 'mqueue', 'cgroup', 'cgroup2'];

function mountFilesystem(
  b: PlanBuilder,
  root: Reg,
  mount: Mount,
  options: MountOptions,
  facts: MountFacts,
  mounted: Mounted,
): Reg {
  const { type = '', destination } = mount;
  const place = placeOf(destination);
  const special = kernelViews.includes(type) || /^\/(proc|sys|dev)$/.test(place);
  const below = type === 'tmpfs' ? openIn(b, root, destination, { flags: O_PATH, on: { any: 'continue' } }) : undefined;
  const target = ensureDirectory(b, root, destination, {
    resolve: special ? noLinks : followInRoot,
    dangling: facts.followDangling ? 'follow' : 'replace',
  });
  if (!special) refuseProc(b, target, place);
  if (type === 'cgroup' || type === 'cgroup2')
    return finish(b, mountCgroups(b, target, mount, options, facts.cgroup), target, options);
  // /dev is made read-only when its nodes are in it, a tmpfs that is filled when it is.
  const readOnly = (options.set & MOUNT_ATTR_RDONLY) !== 0;
  const sealDev = readOnly && place === '/dev';
  const fill = type === 'tmpfs' && options.copyUp;
  const now = readOnly && (sealDev || fill) ? { ...options, set: options.set & ~MOUNT_ATTR_RDONLY } : options;
  if (sealDev) mounted.sealDev = true;
  const fd = below ? makeTmpfs(b, mount, now, facts, below) : makeTree(b, mount, now, facts);
  if (below && fill) copyUp(b, below, fd);
  if (below) b.sys('close', [below], { on: { EBADF: 'continue' } });
  if (fill && readOnly && !sealDev) setAttributes(b, fd, { set: MOUNT_ATTR_RDONLY });
  attach(b, fd, target);
  return finish(b, fd, target, options);
}

function finish(b: PlanBuilder, fd: Reg, target: Reg, options: MountOptions): Reg {
  const { recursiveSet: set, recursiveClear: clear } = options;
  if (set || clear) setAttributes(b, fd, { set, clear, recursive: true });
  if (options.propagation !== undefined) setPropagation(b, fd, options.propagation);
  b.sys('close', [target]);
  return fd;
}

/** A tmpfs for which no mode was asked has that of the directory it hides, if there was one. */
function makeTmpfs(b: PlanBuilder, mount: Mount, options: MountOptions, facts: MountFacts, below: Reg): Reg {
  const words = [...options.superblock, ...options.data, ...contextOf(facts)];
  const source = `source=${mount.source ?? 'tmpfs'}`;
  if (options.data.some((word) => word.startsWith('mode='))) {
    return makeFilesystem(b, 'tmpfs', [source, ...words], options.set);
  }
  const stat = b.blob(144, 'struct stat');
  // "41777": a directory's mode in octal digits is that long, with the type in front.
  const digits = b.blob(Buffer.concat([Buffer.from('41777\0'), Buffer.alloc(18)]), 'mode');
  const none = b.label();
  b.branch(below, '<', 0, none);
  b.sys('fstat', [below, stat]);
  b.format(digits, b.peek({ ...stat, offset: b.arch === 'x86_64' ? 24 : 16 }, 2, 'mode'), { octal: true });
  b.place(none);
  const mode: readonly [string, BlobRef] = ['mode', { ...digits, offset: 1 }];
  return makeFilesystem(b, 'tmpfs', [source, mode, ...words], options.set);
}

/** `tmpcopyup`: a second process packs what is hidden, this one unpacks it. Both stay beneath their directories. */
function copyUp(b: PlanBuilder, below: Reg, fd: Reg): void {
  const none = b.label();
  b.branch(below, '<', 0, none);
  const ends = pipe(b, 'copy');
  const packer = b.clone({ flags: 0n, name: 'packer', pidfd: false }, () => {
    b.sys('close', [ends.read]);
    b.pack(below, '.', ends.write, '', 0);
  });
  b.sys('close', [ends.write]);
  b.unpack(ends.read, fd, unpackAnyOwner | unpackSkipDevices | unpackKeepKind);
  b.sys('close', [ends.read]);
  b.await(packer.report);
  b.sys('wait4', [packer.pid, 0, 0, 0]);
  b.place(none);
}
/** native/unpack.h: an owner that may not be set stays as it is, a device that may not be made is left out, a directory stays one. */
const unpackAnyOwner = 8;
const unpackSkipDevices = 16;
const unpackKeepKind = 64;

function makeTree(b: PlanBuilder, mount: Mount, options: MountOptions, facts: MountFacts): Reg {
  const { type = '' } = mount;
  if (type === 'proc' && facts.userNamespace && !facts.ownPids) return hostView(b, '/proc', options);
  if (type === 'sysfs' && facts.userNamespace && !facts.ownNetwork) return hostView(b, '/sys', options);
  const labelled = kernelViews.includes(type) && type !== 'devpts' ? [] : contextOf(facts);
  const data = [...options.superblock, ...(type === 'overlay' ? layered(options.data) : options.data), ...labelled];
  if (mount.source) data.unshift(`source=${mount.source}`);
  if (type !== 'sysfs' || !facts.userNamespace || facts.ownNetwork !== 'joined') {
    return makeFilesystem(b, type, data, options.set);
  }
  // A namespace that was joined may be owned by the host.
  const fd = b.reg('sysfs');
  const [foreign, done] = [b.label(), b.label()];
  b.set(fd, makeFilesystem(b, type, data, options.set, { EPERM: foreign }));
  b.jump(done);
  b.place(foreign);
  b.set(fd, hostView(b, '/sys', options));
  b.place(done);
  return fd;
}

/** The kernel refuses a new instance of these to a user namespace that doesn't own what they show. */
function hostView(b: PlanBuilder, path: string, options: MountOptions): Reg {
  const tree = cloneHostTree(b, path, { recursive: true });
  const change = { set: options.set & MOUNT_ATTR_RDONLY, propagation: MS_PRIVATE, recursive: true };
  setAttributes(b, tree, change, { on: { any: 'continue' } });
  return tree;
}

/**
 * fsconfig(2) takes values of 255 bytes, a stack of overlays needs more: its layers are named one by one (Linux 6.7). `\\` keeps a colon in a name.
 */
function layered(words: readonly string[]): string[] {
  return words.flatMap((word) => {
    if (!word.startsWith('lowerdir=') || Buffer.byteLength(word) < 256) return [word];
    const layers = word.slice('lowerdir='.length).match(/(?:[^:\\]|\\.)+/g) ?? [];
    return layers.map((layer) => `lowerdir+=${layer.replace(/\\(.)/g, '$1')}`);
  });
}

function contextOf({ context }: MountFacts): string[] {
  return context === undefined ? [] : [`context=${context}`];
}
