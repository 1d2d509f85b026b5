import {
  MOUNT_ATTR__ATIME,
  MOUNT_ATTR_NOATIME,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOUNT_ATTR_STRICTATIME,
  MS_PRIVATE,
  MS_REC,
  MS_SHARED,
  MS_SLAVE,
  MS_UNBINDABLE,
} from './constants.ts';

const MOUNT_ATTR_NODIRATIME = 0x80;
const MOUNT_ATTR_NOSYMFOLLOW = 0x200000;

/** What a list of mount(8) words asks for, in terms of the mount API of Linux 5.12. */
export interface MountOptions {
  /** `bind` or `rbind` was given; `recursive` is true for the latter. */
  readonly bind: boolean;
  readonly recursive: boolean;
  readonly remount: boolean;
  /** MOUNT_ATTR_* for mount_setattr(2)'s attr_set and attr_clr. `set` alone also suits fsmount(2). */
  readonly set: number;
  readonly clear: number;
  /** The same for the whole tree (AT_RECURSIVE): `rro`, `rnosuid`, … */
  readonly recursiveSet: number;
  readonly recursiveClear: number;
  /** One of MS_SHARED, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE, with MS_REC where the word says so; the last word given counts. */
  readonly propagation?: number;
  /** Flags of a new file system's superblock, as fsconfig(FSCONFIG_SET_FLAG) takes them; without meaning for a bind mount. */
  readonly superblock: readonly string[];
  /** Fill the new tmpfs with what the directory under it holds. */
  readonly copyUp: boolean;
  readonly idmap?: 'mount' | 'tree';
  /** crun's words: a link is taken for what it is, at the source, at the destination; a link is made anew and nothing mounted. */
  readonly sourceNoFollow: boolean;
  readonly targetNoFollow: boolean;
  readonly copySymlink: boolean;
  /** What is left over, for the file system itself. */
  readonly data: readonly string[];
}

interface Attribute {
  readonly bits: number;
  /** The bits of the field that `bits` belong to: what has to be cleared to set them. */
  readonly field: number;
  readonly clear?: true;
}

const on = (bits: number): Attribute => ({ bits, field: bits });
const off = (bits: number): Attribute => ({ bits, field: bits, clear: true });
/** How access times are kept is one field of three values, of which relatime is 0 and the kernel's default. */
const atime = (bits: number): Attribute => ({ bits, field: MOUNT_ATTR__ATIME });

const attributes: Readonly<Record<string, Attribute>> = {
  ro: on(MOUNT_ATTR_RDONLY),
  rw: off(MOUNT_ATTR_RDONLY),
  nosuid: on(MOUNT_ATTR_NOSUID),
  suid: off(MOUNT_ATTR_NOSUID),
  nodev: on(MOUNT_ATTR_NODEV),
  dev: off(MOUNT_ATTR_NODEV),
  noexec: on(MOUNT_ATTR_NOEXEC),
  exec: off(MOUNT_ATTR_NOEXEC),
  nodiratime: on(MOUNT_ATTR_NODIRATIME),
  diratime: off(MOUNT_ATTR_NODIRATIME),
  nosymfollow: on(MOUNT_ATTR_NOSYMFOLLOW),
  symfollow: off(MOUNT_ATTR_NOSYMFOLLOW),
  noatime: atime(MOUNT_ATTR_NOATIME),
  atime: atime(0),
  relatime: atime(0),
  norelatime: atime(0),
  strictatime: atime(MOUNT_ATTR_STRICTATIME),
  nostrictatime: atime(0),
};

const propagations: Readonly<Record<string, number>> = {
  shared: MS_SHARED,
  private: MS_PRIVATE,
  slave: MS_SLAVE,
  unbindable: MS_UNBINDABLE,
};

/** Words about the superblock, and the flag each sets; '' where it only takes `unset` back. */
const superblockFlags: Readonly<Record<string, { readonly flag: string; readonly unset?: string }>> = {
  sync: { flag: 'sync' },
  async: { flag: '', unset: 'sync' },
  dirsync: { flag: 'dirsync' },
  lazytime: { flag: 'lazytime' },
  nolazytime: { flag: '', unset: 'lazytime' },
  mand: { flag: 'mand' },
  nomand: { flag: '', unset: 'mand' },
};

/** Words that mount(8) knows and this kernel interface has no use for. */
const without = new Set(['defaults', 'loud', 'silent', 'iversion', 'noiversion']);

const words = [
  'bind',
  'rbind',
  'remount',
  'idmap',
  'ridmap',
  'tmpcopyup',
  'src-nofollow',
  'dest-nofollow',
  'copy-symlink',
];

/** Every word that is not passed on to the file system, for the `features` document. */
export const mountOptionWords: readonly string[] = [
  ...Object.keys(attributes),
  ...Object.keys(attributes).map((word) => `r${word}`),
  ...Object.keys(propagations),
  ...Object.keys(propagations).map((word) => `r${word}`),
  ...Object.keys(superblockFlags),
  ...without,
  ...words,
].sort();

/** Reads the words of an OCI mount (runtime-spec, config.md#linux-mount-options). Later words win over earlier ones. */
export function parseMountOptions(given: readonly string[]): MountOptions {
  const one = { set: 0, clear: 0 };
  const tree = { set: 0, clear: 0 };
  const superblock = new Set<string>();
  const data: string[] = [];
  const seen = new Set<string>();
  let propagation: number | undefined;
  for (const word of given) {
    const plain = word.startsWith('r') ? word.slice(1) : '';
    const own = lookUp(attributes, word);
    const recursive = lookUp(attributes, plain);
    const spread = lookUp(propagations, word) ?? lookUp(propagations, plain);
    const flag = lookUp(superblockFlags, word);
    if (own) change(one, own);
    else if (recursive) change(tree, recursive);
    else if (spread !== undefined) propagation = spread | (lookUp(propagations, word) === undefined ? MS_REC : 0);
    else if (flag) {
      if (flag.unset) superblock.delete(flag.unset);
      else superblock.add(flag.flag);
    } else if (words.includes(word)) seen.add(word);
    else if (word !== '' && !without.has(word)) data.push(word);
  }
  return {
    bind: seen.has('bind') || seen.has('rbind'),
    recursive: seen.has('rbind'),
    remount: seen.has('remount'),
    set: one.set,
    clear: one.clear,
    recursiveSet: tree.set,
    recursiveClear: tree.clear,
    ...(propagation === undefined ? {} : { propagation }),
    superblock: [...superblock],
    copyUp: seen.has('tmpcopyup'),
    sourceNoFollow: seen.has('src-nofollow'),
    targetNoFollow: seen.has('dest-nofollow'),
    copySymlink: seen.has('copy-symlink'),
    ...(seen.has('ridmap') ? { idmap: 'tree' as const } : seen.has('idmap') ? { idmap: 'mount' as const } : {}),
    data,
  };
}

function change(flags: { set: number; clear: number }, { bits, field, clear }: Attribute): void {
  flags.set = (flags.set & ~field) | (clear ? 0 : bits);
  // mount_setattr(2) wants the whole access time field cleared before a value of it is set.
  if (clear || field === MOUNT_ATTR__ATIME) flags.clear |= field;
  else flags.clear &= ~field;
}

function lookUp<T>(table: Readonly<Record<string, T>>, word: string): T | undefined {
  return Object.hasOwn(table, word) ? table[word] : undefined;
}
