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
import { KeelsonError } from '../ground/errors.ts';
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
  // EAGAIN: something was renamed or mounted somewhere while the kernel went through `..` (openat2(2)).
  const on = resolve === followInRoot ? { EAGAIN: { retryMs: 1000 }, ...options.on } : options.on;
  return b.sys('openat2', [root, inside(path), how, 24], on ? { ...options, on } : options);
}

/** Opens a path of the host, as it is. */
export function openHost(b: PlanBuilder, path: string, flags: number, options: SysOptions = {}): Reg {
  return b.sys('openat', [AT_FDCWD, path, flags | O_CLOEXEC], options);
}

export interface EnsureOptions {
  readonly resolve?: number;
  readonly mode?: number;
  /**
   * A link on the way to what isn't there (`/etc/resolv.conf` of some images): `replace` it, or make what it points to, inside the root;
   * for the latter the plan asks the planner. Default: replace.
   */
  readonly dangling?: 'replace' | 'follow';
}

/** An O_PATH descriptor of the directory, made with its parents (mode 0755) where it is missing. */
export function ensureDirectory(b: PlanBuilder, root: Value, path: string, options: EnsureOptions = {}): Reg {
  return ensure(b, root, path, { ...options, directory: true });
}

/** An O_PATH descriptor of the file (or of whatever is there), made empty (mode 0644) where it is missing. */
export function ensureFile(b: PlanBuilder, root: Value, path: string, options: EnsureOptions = {}): Reg {
  return ensure(b, root, path, { ...options, directory: false });
}

interface Ensured extends EnsureOptions {
  readonly directory: boolean;
  readonly dst?: Reg;
  /** Links that led here. */
  readonly links?: number;
}

/** path_resolution(7). */
const maxLinks = 40;

/** Tries the whole path first; only when something is missing goes component by component. */
function ensure(b: PlanBuilder, root: Value, path: string, options: Ensured): Reg {
  const { O_DIRECTORY } = openFlags(b.arch);
  const { directory, mode = directory ? 0o755 : 0o644, resolve = followInRoot } = options;
  const flags = directory ? O_PATH | O_DIRECTORY : O_PATH;
  const asks = options.dangling === 'follow' && resolve === followInRoot;
  const names = components(path);
  const [missing, done] = [b.label(), b.label()];
  const fd = openIn(b, root, path, {
    flags,
    resolve,
    on: { ENOENT: missing },
    ...(options.dst && { dst: options.dst }),
  });
  b.jump(done);
  b.place(missing);
  const link = asks
    ? { label: b.label(), at: b.reg('component'), target: b.blob(4096, 'link'), size: b.reg('size') }
    : undefined;
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
    if (link) {
      const none = b.label();
      b.sys('readlinkat', [parent, name, link.target, 4096], { dst: link.size, on: { any: none } });
      b.set(link.at, i);
      b.jump(link.label);
      b.place(none);
    }
    // Removes a dangling link only: unlinkat refuses directories, and nothing else can be here after ENOENT.
    else b.sys('unlinkat', [parent, name, 0], { on: { any: 'continue' } });
    if (!last) b.sys('mkdirat', [parent, name, 0o755], { on: { EEXIST: 'continue' } });
    else if (directory) b.sys('mkdirat', [parent, name, mode], { on: { EEXIST: 'continue' } });
    // Not open(2): a FIFO that somebody puts there meanwhile would hold it up.
    else b.sys('mknodat', [parent, name, S_IFREG | mode, 0], { on: { EEXIST: 'continue' } });
    openIn(b, root, prefix, open);
    b.place(next);
    if (parent !== root) b.sys('close', [parent]);
    parent = here;
  }
  if (link) {
    b.jump(done);
    b.place(link.label);
    b.ask([link.at, link.size], [link.target], (chunk, { registers, blobs }) => {
      const links = (options.links ?? 0) + 1;
      if (links > maxLinks) throw new KeelsonError('invalid-argument', `${path}: too many links one after the other`);
      const [at, size] = registers.map(Number);
      const target = (blobs[0] ?? Buffer.alloc(0)).toString('utf8', 0, size);
      const from = target.startsWith('/') ? [] : names.slice(0, at);
      const to = [...from, ...components(target), ...names.slice((at ?? 0) + 1)].join('/');
      ensure(chunk, root, to, { ...options, dst: fd, links });
    });
  }
  b.place(done);
  return fd;
}

function components(path: string): string[] {
  return inside(path)
    .split('/')
    .filter((n) => n !== '' && n !== '.');
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
