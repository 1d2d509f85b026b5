import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Context } from '../../src/ground/context.ts';
import type { TarEntry, TarType } from '../../src/image/tar-entry.ts';
import { tarEnd, tarHeader } from '../../src/image/tar-header.ts';
import { type UnpackOptions, type Unpacked, unpackTar } from '../../src/image/unpack.ts';
import type { Keel } from '../../src/kernel/keel.ts';

export type EntrySpec = Partial<Omit<TarEntry, 'xattrs'>> & {
  readonly path: string;
  readonly content?: string | Uint8Array;
  readonly xattrs?: Readonly<Record<string, string | Uint8Array>>;
};

/** The blocks of one entry. Defaults: an empty file of root's, 0644 (directories, named with a trailing slash, 0755), time 1e9 s. */
export function entryBytes(spec: EntrySpec): Buffer {
  const { content: text, xattrs, ...given } = spec;
  const content = Buffer.from(text ?? '');
  const type: TarType = given.type ?? (given.path.endsWith('/') ? 'directory' : 'file');
  const header = tarHeader({
    mode: type === 'directory' ? 0o755 : 0o644,
    uid: 0,
    gid: 0,
    size: content.length,
    mtime: 1_000_000_000_000_000_000n,
    ...given,
    type,
    ...(xattrs && { xattrs: new Map(Object.entries(xattrs).map(([k, v]) => [k, Buffer.from(v)])) }),
  });
  return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

export function archive(...entries: (EntrySpec | Buffer)[]): Buffer {
  return Buffer.concat([...entries.map((e) => (Buffer.isBuffer(e) ? e : entryBytes(e))), tarEnd]);
}

/** Short for archives of files named by their paths, each with its path as content; a trailing slash makes a directory. */
export function files(...paths: string[]): EntrySpec[] {
  return paths.map((path) => (path.endsWith('/') ? { path } : { path, content: path }));
}

/** Changes bytes of a header and makes its checksum fit again. */
export function forge(header: Buffer, at: number, bytes: string | Uint8Array): Buffer {
  const forged = Buffer.from(header);
  Buffer.from(bytes).copy(forged, at);
  forged.write('        ', 148);
  let sum = 0;
  for (const byte of forged.subarray(0, 512)) sum += byte;
  forged.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return forged;
}

/** A directory of a test: `root` to unpack into, beside it `scratch` and what must not be touched. */
export class Yard implements Disposable {
  readonly top: string;
  readonly root: string;
  readonly scratch: string;
  readonly outside: string;

  constructor() {
    this.top = mkdtempSync(join(tmpdir(), 'keelson-yard-'));
    [this.root, this.scratch, this.outside] = ['root', 'scratch', 'outside'].map((name) => {
      const path = join(this.top, name);
      mkdirSync(path, { mode: 0o700 });
      return path;
    }) as [string, string, string];
    chmodSync(this.root, 0o755);
    chownSync(this.root, 0, 0);
  }

  async unpack(keel: Keel, bytes: Uint8Array, options: Partial<UnpackOptions> = {}): Promise<Unpacked> {
    return unpackTar(
      keel,
      pieces(bytes),
      { into: this.root, scratch: this.scratch, whiteouts: 'overlay', ...options },
      new Context(),
    );
  }

  tree(): Record<string, Node> {
    return treeOf(this.root);
  }

  [Symbol.dispose](): void {
    rmSync(this.top, { recursive: true, force: true });
  }
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
}

/** What is to be compared of a file. `links` is the first path (in the order of names) of the same inode. */
export interface Node {
  readonly type: string;
  readonly mode: number;
  readonly owner: string;
  readonly mtime: bigint;
  readonly link?: string;
  readonly device?: string;
  readonly size?: number;
  readonly digest?: string;
  readonly same?: string;
  readonly xattrs?: Record<string, string>;
}

const kinds: Record<number, string> = {
  0o010000: 'fifo',
  0o020000: 'char',
  0o040000: 'directory',
  0o060000: 'block',
  0o100000: 'file',
  0o120000: 'symlink',
  0o140000: 'socket',
};

/** Every path beneath `top`, with what it is. With `xattrs`, all of their namespaces are read (getfattr, package attr). */
export function treeOf(top: string, options: { xattrs?: boolean } = {}): Record<string, Node> {
  const tree: Record<string, Node> = {};
  const seen = new Map<bigint, string>();
  const attributes = options.xattrs ? xattrsOf(top) : {};
  const visit = (path: string): void => {
    const full = join(top, path);
    const st = lstatSync(full, { bigint: true });
    const type = kinds[Number(st.mode) & 0o170000] as string;
    const first = seen.get(st.ino);
    if (type !== 'directory' && first === undefined) seen.set(st.ino, path);
    tree[path] = {
      type,
      mode: Number(st.mode) & 0o7777,
      owner: `${st.uid}:${st.gid}`,
      mtime: st.mtimeNs,
      ...(type === 'symlink' && { link: readlinkSync(full) }),
      ...((type === 'char' || type === 'block') && { device: `${st.rdev >> 8n}:${st.rdev & 0xffn}` }),
      ...(type === 'file' && {
        size: Number(st.size),
        digest: createHash('sha256').update(readFileSync(full)).digest('hex').slice(0, 16),
      }),
      ...(type !== 'directory' && first !== undefined && { same: first }),
      ...(attributes[path] && { xattrs: attributes[path] }),
    };
    if (type === 'directory') for (const name of readdirSync(full).sort()) visit(join(path, name));
  };
  visit('.');
  return tree;
}

function xattrsOf(top: string): Record<string, Record<string, string>> {
  const output = execFileSync('getfattr', ['-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '.'], {
    cwd: top,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const found: Record<string, Record<string, string>> = {};
  for (const section of output.split('\n\n')) {
    const [head, ...lines] = section.trim().split('\n');
    if (!head?.startsWith('# file: ')) continue;
    const path = head
      .slice('# file: '.length)
      .replace(/\\(\d{3})/g, (_, o: string) => String.fromCharCode(Number.parseInt(o, 8)));
    found[path] = Object.fromEntries(lines.map((line) => line.split('=') as [string, string]));
  }
  return found;
}

/** Just the names, sorted, directories with a slash. */
export function names(tree: Record<string, Node>): string[] {
  return Object.entries(tree)
    .filter(([path]) => path !== '.')
    .map(([path, node]) => (node.type === 'directory' ? `${path}/` : path))
    .sort();
}

/** Fails unless the promise rejects with a KeelsonError of that code whose message matches. */
export async function refused(promise: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  await assert.rejects(promise, (error: Error & { code?: string }) => {
    assert.match(error.message, message);
    assert.equal(error.code, code, error.message);
    return true;
  });
}
