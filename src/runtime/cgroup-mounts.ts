/** What a container sees of control groups: the mount of type `cgroup` or `cgroup2`. */
import {
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MS_PRIVATE,
} from '../kernel/constants.ts';
import type { MountOptions } from '../kernel/mount-flags.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Mount } from '../spec/runtime.ts';
import { attach, cloneHostTree, makeFilesystem, setAttributes } from './filesystem.ts';

export interface CgroupView {
  /** cgroup v2 alone; else every v1 hierarchy by its mount options, e.g. `{name: 'cpu', options: ['cpu']}`. */
  readonly unified: boolean;
  readonly hierarchies: readonly { readonly name: string; readonly options: readonly string[] }[];
  /** Without a cgroup namespace: the container's own directories, by the hierarchy's name ('' for version 2). */
  readonly own?: Readonly<Record<string, string>>;
}

export function mountCgroups(b: PlanBuilder, target: Reg, mount: Mount, options: MountOptions, view: CgroupView): Reg {
  const many = mount.type === 'cgroup' && !view.unified;
  const fd = many ? emptyTree(b) : unifiedTree(b, mount, options, view);
  attach(b, fd, target);
  if (!many) return fd;
  mountHierarchies(b, fd, options, view);
  if (options.set & MOUNT_ATTR_RDONLY) setAttributes(b, fd, { set: MOUNT_ATTR_RDONLY });
  return fd;
}

function emptyTree(b: PlanBuilder): Reg {
  const attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  return makeFilesystem(b, 'tmpfs', ['source=cgroup', 'mode=755'], attributes);
}

function unifiedTree(b: PlanBuilder, mount: Mount, options: MountOptions, view: CgroupView): Reg {
  const own = view.own?.[''];
  if (own !== undefined) return ownGroup(b, own, options);
  const data = [`source=${mount.source ?? 'cgroup'}`, ...options.superblock, ...options.data];
  return makeFilesystem(b, 'cgroup2', data, options.set);
}

/** The v1 view: a tmpfs with a directory a hierarchy, each showing the container's own part of it (its cgroup namespace). */
function mountHierarchies(b: PlanBuilder, tmpfs: Reg, options: MountOptions, view: CgroupView): void {
  for (const { name, options: words } of view.hierarchies) {
    const own = view.own?.[name];
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
