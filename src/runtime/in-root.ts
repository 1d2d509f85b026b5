/**
 * Opening and making paths inside a container's root: on descriptors only, with openat2(2), so that no symlink in
 * an image, whenever it is put there, leads outside.
 */
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_PATH,
  openFlags,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  S_IFREG,
} from '../kernel/constants.ts';
import type { Reg, Value } from '../kernel/plan.ts';
import type { PlanBuilder, SysOptions } from '../kernel/plan-builder.ts';

/** Links are followed as if the root were `/`; never through /proc's magic links. */
export const followInRoot: number = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
/** No link at all: for /proc, /sys and /dev, whose place an image must not choose (CVE-2019-16884, 2023-27561, runc 2026-41579). */
export const noLinks: number = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;

export interface OpenOptions extends SysOptions {
  readonly flags: number;
  readonly mode?: number;
  readonly resolve?: number;
}

/** openat2(root, path); O_CLOEXEC is added. */
export function openIn(b: PlanBuilder, root: Value, path: string, options: OpenOptions): Reg {
  const resolve = options.resolve ?? followInRoot;
  const flags = options.flags | O_CLOEXEC;
  const mode = options.mode ?? 0;
  const how = b.constant(`open_how ${flags} ${mode} ${resolve}`, () =>
    b.struct(openHowText(flags, resolve), 24, [
      [0, 8, flags],
      [8, 8, mode],
      [16, 8, resolve],
    ]),
  );
  return b.sys('openat2', [root, inside(path), how, 24], options);
}

/** Opens a path of the host, as it is. */
export function openHost(b: PlanBuilder, path: string, flags: number, options: SysOptions = {}): Reg {
  return b.sys('openat', [AT_FDCWD, path, flags | O_CLOEXEC], options);
}

/** An O_PATH descriptor of the directory, made with its parents (mode 0755) where it is missing. */
export function ensureDirectory(
  b: PlanBuilder,
  root: Value,
  path: string,
  options: { resolve?: number; mode?: number } = {},
): Reg {
  const { O_DIRECTORY } = openFlags(b.arch);
  return ensure(b, root, path, options.resolve ?? followInRoot, O_PATH | O_DIRECTORY, (parent, name) => {
    b.sys('mkdirat', [parent, name, options.mode ?? 0o755], { on: { EEXIST: 'continue' } });
  });
}

/** An O_PATH descriptor of the file (or of whatever is there), made empty where it is missing. */
export function ensureFile(b: PlanBuilder, root: Value, path: string): Reg {
  return ensure(b, root, path, followInRoot, O_PATH, (parent, name) => {
    // Not open(2): a FIFO that somebody puts there meanwhile would hold it up.
    b.sys('mknodat', [parent, name, S_IFREG | 0o644, 0], { on: { EEXIST: 'continue' } });
  });
}

/**
 * Tries the whole path first; only when something is missing goes component by component. A dangling link on the way
 * (`/etc/resolv.conf` of some images) is replaced: what it points to isn't there either.
 */
function ensure(
  b: PlanBuilder,
  root: Value,
  path: string,
  resolve: number,
  flags: number,
  makeLast: (parent: Value, name: string) => void,
): Reg {
  const { O_DIRECTORY } = openFlags(b.arch);
  const names = inside(path)
    .split('/')
    .filter((n) => n !== '' && n !== '.');
  const [missing, done] = [b.label(), b.label()];
  const fd = openIn(b, root, path, { flags, resolve, on: { ENOENT: missing } });
  b.jump(done);
  b.place(missing);
  let parent: Value = root;
  for (const [i, name] of names.entries()) {
    const last = i === names.length - 1;
    const prefix = names.slice(0, i + 1).join('/');
    const here: Reg = last ? fd : b.reg('directory');
    const [make, next] = [b.label(), b.label()];
    const open = { flags: last ? flags : O_PATH | O_DIRECTORY, resolve, dst: here };
    openIn(b, root, prefix, { ...open, on: { ENOENT: make } });
    b.jump(next);
    b.place(make);
    // Removes a dangling link only: unlinkat refuses directories, and nothing else can be here after ENOENT.
    b.sys('unlinkat', [parent, name, 0], { on: { any: 'continue' } });
    if (last) makeLast(parent, name);
    else b.sys('mkdirat', [parent, name, 0o755], { on: { EEXIST: 'continue' } });
    openIn(b, root, prefix, open);
    b.place(next);
    if (parent !== root) b.sys('close', [parent]);
    parent = here;
  }
  b.place(done);
  return fd;
}

function inside(path: string): string {
  return path.replace(/^\/+/, '') || '.';
}

function openHowText(flags: number, resolve: number): string {
  const names = [
    [RESOLVE_IN_ROOT, 'RESOLVE_IN_ROOT'],
    [RESOLVE_NO_MAGICLINKS, 'RESOLVE_NO_MAGICLINKS'],
    [RESOLVE_NO_SYMLINKS, 'RESOLVE_NO_SYMLINKS'],
  ] as const;
  const words = names.filter(([bit]) => resolve & bit).map(([, name]) => name);
  return `{flags=0${flags.toString(8)}, resolve=${words.join('|')}}`;
}
