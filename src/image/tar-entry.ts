export type TarType = 'file' | 'hardlink' | 'symlink' | 'char' | 'block' | 'directory' | 'fifo';

/** One entry of a tar archive. Strings are UTF-8; a name's bytes that aren't come out of `readTar` as latin1 would have them. */
export interface TarEntry {
  readonly type: TarType;
  /** Directories may end with a slash or not. */
  readonly path: string;
  /** Target of a symlink or hardlink. */
  readonly link?: string;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of a file; 0 for everything else. */
  readonly size: number;
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint;
  readonly major?: number;
  readonly minor?: number;
  readonly xattrs?: ReadonlyMap<string, Uint8Array>;
}

export const tarBlock = 512;

/** Type flags of the ustar header. */
export const tarTypeFlags: Readonly<Record<TarType, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  char: '3',
  block: '4',
  directory: '5',
  fifo: '6',
};

/** Zero bytes after `size` bytes of data. */
export function tarPadding(size: number): number {
  return (tarBlock - (size % tarBlock)) % tarBlock;
}
