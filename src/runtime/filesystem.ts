/** Mounting with the descriptor-based mount API (Linux 5.2; attributes 5.12): a mount is made detached, then moved onto an open directory. */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
} from '../kernel/constants.ts';
import type { BlobRef, Reg, Value } from '../kernel/plan.ts';
import type { PlanBuilder, Rules, SysOptions } from '../kernel/plan-builder.ts';

/** `key`, `key=value`, or a key with a value that the plan finds out. */
export type FilesystemOption = string | readonly [key: string, value: BlobRef];

/** fsopen, fsconfig…, fsmount: a new file system, not attached anywhere yet. `on` is for its creation, which either call may refuse. */
export function makeFilesystem(
  b: PlanBuilder,
  type: string,
  options: readonly FilesystemOption[],
  attributes: number,
  on: Rules = {},
): Reg {
  const context = b.sys('fsopen', [type, FSOPEN_CLOEXEC], { on });
  for (const option of options) {
    if (typeof option !== 'string') {
      b.sys('fsconfig', [context, FSCONFIG_SET_STRING, ...option, 0]);
      continue;
    }
    const equals = option.indexOf('=');
    const detail = `option ${option}`;
    if (equals < 0) b.sys('fsconfig', [context, FSCONFIG_SET_FLAG, option, 0, 0], { detail });
    else {
      const value = option.slice(equals + 1);
      b.sys('fsconfig', [context, FSCONFIG_SET_STRING, option.slice(0, equals), value, 0], { detail });
    }
  }
  b.sys('fsconfig', [context, FSCONFIG_CMD_CREATE, 0, 0, 0], { on });
  const fd = b.sys('fsmount', [context, FSMOUNT_CLOEXEC, attributes]);
  b.sys('close', [context]);
  return fd;
}

/** `flags` are open_tree(2)'s besides those that are set anyway. */
export type TreeOptions = SysOptions & { readonly recursive?: boolean; readonly flags?: number };

/** open_tree(2): a detached copy of what is mounted at a path of the host (or at a descriptor, with ''). */
export function cloneTree(b: PlanBuilder, at: Value, path: string, options: TreeOptions = {}): Reg {
  const flags =
    (options.flags ?? 0) |
    OPEN_TREE_CLONE |
    OPEN_TREE_CLOEXEC |
    (options.recursive ? AT_RECURSIVE : 0) |
    (path === '' ? AT_EMPTY_PATH : 0);
  return b.sys('open_tree', [at, path, flags], options);
}

export function cloneHostTree(b: PlanBuilder, path: string, options: TreeOptions = {}): Reg {
  return cloneTree(b, AT_FDCWD, path, options);
}

/** move_mount(2): puts the detached mount `from` on top of the open directory or file `onto`. */
export function attach(b: PlanBuilder, from: Value, onto: Value, options: SysOptions = {}): void {
  b.sys('move_mount', [from, '', onto, '', MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH], options);
}

/** mount_setattr(2) on a mount's descriptor. struct mount_attr { u64 attr_set, attr_clr, propagation, userns_fd }. */
export function setAttributes(
  b: PlanBuilder,
  mount: Value,
  change: { set?: number; clear?: number; propagation?: number; recursive?: boolean; userns?: Value },
  options: SysOptions = {},
): void {
  const { set = 0, clear = 0, propagation = 0 } = change;
  const text = `{attr_set=0x${set.toString(16)}, attr_clr=0x${clear.toString(16)}, propagation=0x${propagation.toString(16)}}`;
  const fields = [[0, 8, set] as const, [8, 8, clear] as const, [16, 8, propagation] as const];
  const { userns } = change;
  const attr =
    userns === undefined
      ? b.constant(`mount_attr ${text}`, () => b.struct(text, 32, fields))
      : b.struct(text, 32, [...fields, [24, 8, userns]]);
  b.sys('mount_setattr', [mount, '', AT_EMPTY_PATH | (change.recursive ? AT_RECURSIVE : 0), attr, 32], options);
}
