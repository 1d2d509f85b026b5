import { KeelsonError } from '../ground/errors.ts';
import { tarBlock, type TarEntry, tarPadding, type TarType, tarTypeFlags } from './tar-entry.ts';

const maxMetaBytes = 1 << 20;
const types = new Map<string, TarType>(Object.entries(tarTypeFlags).map(([type, flag]) => [flag, type as TarType]));

/** An entry of an archive being read; its data must be read, if at all, before the next entry is asked for. */
export interface TarReadItem {
  readonly entry: TarEntry;
  /** The blocks that told of it, extended headers included. */
  readonly header: Buffer;
  /** The data, in pieces. */
  readonly content: AsyncIterable<Buffer>;
  /** The whole data; throws `corrupt` when it is longer than `maxBytes`. */
  bytes(maxBytes: number): Promise<Buffer>;
}

export interface TarReadOptions {
  /** Begins messages: the archive's name. */
  readonly what?: string;
  /** The archive has headers only, as keel's `pack` makes it on request: sizes are told, data doesn't follow. */
  readonly headersOnly?: boolean;
}

/**
 * Reads an archive: ustar, PAX, GNU long names. For archives whose entries are looked at one by one (an image archive's blobs, a list of changes);
 * what is to become a directory tree goes to keel, see unpack.ts. Names come as they are in the archive, `..` and all.
 * Sparse files are refused. Throws `corrupt` for what is not a tar archive or is cut off.
 */
export async function* readTar(
  source: AsyncIterable<Uint8Array>,
  options: TarReadOptions = {},
): AsyncGenerator<TarReadItem> {
  const reader = new Reader(source, options.what ?? 'archive');
  try {
    for (;;) {
      reader.told.length = 0;
      const entry = await nextEntry(reader);
      if (entry === undefined) return;
      const content = new Content(reader, options.headersOnly ? 0 : entry.size, entry);
      yield { entry, header: Buffer.concat(reader.told), content, bytes: (max) => content.bytes(max) };
      await content.skip();
    }
  } finally {
    await reader.close();
  }
}

class Content implements AsyncIterable<Buffer> {
  readonly #reader: Reader;
  readonly #entry: TarEntry;
  #left: number;
  #padding: number;

  constructor(reader: Reader, size: number, entry: TarEntry) {
    this.#reader = reader;
    this.#entry = entry;
    this.#left = size;
    this.#padding = tarPadding(size);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    while (this.#left > 0) {
      const piece = await this.#reader.some(this.#left, this.#entry.path);
      this.#left -= piece.length;
      yield piece;
    }
  }

  async bytes(maxBytes: number): Promise<Buffer> {
    if (this.#left > maxBytes) {
      throw this.#reader.bad(`${this.#entry.path} has ${this.#left} bytes, more than ${maxBytes}`);
    }
    const pieces: Buffer[] = [];
    for await (const piece of this) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  async skip(): Promise<void> {
    this.#left += this.#padding;
    this.#padding = 0;
    while (this.#left > 0) this.#left -= (await this.#reader.some(this.#left, this.#entry.path)).length;
  }
}

/** Chunks cut into the pieces that are asked for. */
class Reader {
  /** What `exactly` gave since this was last emptied. */
  readonly told: Buffer[] = [];
  readonly #iterator: AsyncIterator<Uint8Array>;
  readonly #what: string;
  #chunk: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>, what: string) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#what = what;
  }

  bad(text: string): KeelsonError {
    return new KeelsonError('corrupt', `${this.#what}: ${text}`);
  }

  /** Between 1 and `most` bytes. */
  async some(most: number, where: string): Promise<Buffer> {
    if (!(await this.#fill())) throw this.bad(`cut off in ${where}`);
    const piece = this.#chunk.subarray(0, most);
    this.#chunk = this.#chunk.subarray(piece.length);
    return piece;
  }

  /** Exactly `size` bytes; undefined at the end of the source. */
  async exactly(size: number, where: string): Promise<Buffer | undefined> {
    if (!(await this.#fill())) return undefined;
    const pieces: Buffer[] = [];
    for (let left = size; left > 0; ) {
      const piece = await this.some(left, where);
      pieces.push(piece);
      left -= piece.length;
    }
    const bytes = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
    this.told.push(bytes);
    return bytes;
  }

  async close(): Promise<void> {
    await this.#iterator.return?.();
  }

  async #fill(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const next = await this.#iterator.next();
      if (next.done) return false;
      this.#chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
    }
    return true;
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Extra = Partial<Mutable<Pick<TarEntry, 'path' | 'link' | 'size' | 'uid' | 'gid' | 'mtime'>>> & {
  xattrs?: Map<string, Uint8Array>;
};

/** The next entry proper, with what the headers before it say of it. */
async function nextEntry(reader: Reader): Promise<TarEntry | undefined> {
  let extra: Extra = {};
  for (;;) {
    const header = await reader.exactly(tarBlock, 'a header');
    if (header === undefined || header.every((byte) => byte === 0)) return undefined;
    const size = checked(reader, header);
    const flag = String.fromCharCode(header[156] as number);
    switch (flag) {
      case 'x':
      case 'X':
        extra = { ...extra, ...paxExtra(reader, await meta(reader, size)) };
        break;
      case 'L':
        extra.path = cString(await meta(reader, size));
        break;
      case 'K':
        extra.link = cString(await meta(reader, size));
        break;
      case 'g':
        await meta(reader, size);
        break;
      default:
        return entryOf(reader, header, flag, size, extra);
    }
  }
}

/** The header's size, once its checksum is seen to fit. */
function checked(reader: Reader, header: Buffer): number {
  let sum = 8 * 32;
  for (let i = 0; i < tarBlock; i++) if (i < 148 || i >= 156) sum += header[i] as number;
  if (number(reader, header, 148, 8) !== sum) throw reader.bad('not a tar archive, or damaged: wrong checksum');
  const size = number(reader, header, 124, 12);
  if (size < 0) throw reader.bad('a negative size');
  return size;
}

async function meta(reader: Reader, size: number): Promise<Buffer> {
  if (size > maxMetaBytes) throw reader.bad(`an extended header of ${size} bytes is too large`);
  const padded = await reader.exactly(size + tarPadding(size), 'an extended header');
  if (padded === undefined) throw reader.bad('cut off in an extended header');
  return padded.subarray(0, size);
}

function entryOf(reader: Reader, header: Buffer, flag: string, size: number, extra: Extra): TarEntry {
  const prefix = header.toString('latin1', 257, 263) === 'ustar\0' ? cString(header.subarray(345, 500)) : '';
  const name = cString(header.subarray(0, 100));
  const path = extra.path ?? (prefix ? `${prefix}/${name}` : name);
  const type = flag === '\0' || flag === '7' ? (path.endsWith('/') ? 'directory' : 'file') : types.get(flag);
  if (type === undefined) throw reader.bad(`${path}: an entry of type ${JSON.stringify(flag)} is unknown here`);
  const link = extra.link ?? cString(header.subarray(157, 257));
  const device = type === 'char' || type === 'block';
  return {
    type,
    path,
    ...(type === 'symlink' || type === 'hardlink' ? { link } : {}),
    mode: number(reader, header, 100, 8) & 0o7777,
    uid: extra.uid ?? number(reader, header, 108, 8),
    gid: extra.gid ?? number(reader, header, 116, 8),
    size: type === 'file' ? (extra.size ?? size) : 0,
    mtime: extra.mtime ?? BigInt(number(reader, header, 136, 12)) * 1_000_000_000n,
    ...(device ? { major: number(reader, header, 329, 8), minor: number(reader, header, 337, 8) } : {}),
    ...(extra.xattrs ? { xattrs: extra.xattrs } : {}),
  };
}

function paxExtra(reader: Reader, data: Buffer): Extra {
  const extra: Extra = {};
  for (let at = 0; at < data.length; ) {
    const head = /^(\d{1,7}) ([^=\0\n]+)=/.exec(data.toString('latin1', at, Math.min(at + 512, data.length)));
    const end = at + Number(head?.[1]);
    if (!head || !(end <= data.length) || data[end - 1] !== 0x0a) throw reader.bad('an extended header is malformed');
    const key = Buffer.from(head[2] as string, 'latin1').toString();
    const value = data.subarray(at + head[0].length, end - 1);
    at = end;
    if (key.startsWith('SCHILY.xattr.')) {
      (extra.xattrs ??= new Map()).set(key.slice('SCHILY.xattr.'.length), Buffer.from(value));
    } else if (key.startsWith('GNU.sparse.')) throw reader.bad('a sparse file is not expected here');
    else if (value.length > 0) paxValue(reader, extra, key, value);
  }
  return extra;
}

function paxValue(reader: Reader, extra: Extra, key: string, value: Buffer): void {
  const text = value.toString();
  switch (key) {
    case 'path':
    case 'linkpath':
      if (value.includes(0)) throw reader.bad(`a name with a NUL: ${JSON.stringify(text)}`);
      extra[key === 'path' ? 'path' : 'link'] = nameOf(value);
      break;
    case 'size':
    case 'uid':
    case 'gid':
      if (!/^\d{1,15}$/.test(text)) throw reader.bad(`${key} ${JSON.stringify(text)} is out of range`);
      extra[key] = Number(text);
      break;
    case 'mtime': {
      const parts = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(text);
      if (!parts) throw reader.bad(`time ${JSON.stringify(text)} is malformed`);
      const ns = BigInt(parts[2] as string) * 1_000_000_000n + BigInt((parts[3] ?? '').padEnd(9, '0').slice(0, 9));
      extra.mtime = parts[1] ? -ns : ns;
      break;
    }
    default:
  }
}

/** Octal, or base-256 as GNU tar writes large numbers. */
function number(reader: Reader, header: Buffer, at: number, width: number): number {
  const first = header[at] as number;
  if (first & 0x80) {
    const bits = BigInt.asIntN(width * 8 - 1, BigInt(`0x${header.toString('hex', at, at + width)}`));
    if (bits > Number.MAX_SAFE_INTEGER || bits < Number.MIN_SAFE_INTEGER) throw reader.bad('a number is out of range');
    return Number(bits);
  }
  const text = header.toString('latin1', at, at + width).replace(/^[\0 ]+/, '');
  const digits = /^([0-7]*)(?:[\0 ]|$)/.exec(text);
  if (!digits) throw reader.bad('a number is malformed');
  const value = digits[1] === '' ? 0 : Number.parseInt(digits[1] as string, 8);
  if (!Number.isSafeInteger(value)) throw reader.bad('a number is out of range');
  return value;
}

function cString(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return nameOf(end < 0 ? bytes : bytes.subarray(0, end));
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function nameOf(bytes: Buffer): string {
  try {
    return strict.decode(bytes);
  } catch {
    return bytes.toString('latin1');
  }
}
