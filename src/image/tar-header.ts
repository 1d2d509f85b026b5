import { KeelsonError } from '../ground/errors.ts';
import { tarBlock, type TarEntry, tarPadding, tarTypeFlags } from './tar-entry.ts';

const maxOctal7 = 0o7777777;
const maxOctal11 = 0o77777777777;

/** Two zero blocks: the end of an archive. */
export const tarEnd: Buffer = Buffer.alloc(2 * tarBlock);

/**
 * The header blocks of an entry: ustar, with a PAX header before it where ustar can't say it (long or non-ASCII names, large
 * numbers, fractions of seconds, extended attributes). The same entry gives the same bytes always.
 * Throws `invalid-argument` for names that no reader could take (empty, with a NUL).
 */
export function tarHeader(entry: TarEntry): Buffer {
  for (const name of [entry.path, entry.link ?? '']) {
    if (name.includes('\0')) throw new KeelsonError('invalid-argument', `${JSON.stringify(name)}: a name with a NUL`);
  }
  if (entry.path === '') throw new KeelsonError('invalid-argument', 'an archive entry without a name');
  const path = entry.type === 'directory' && !entry.path.endsWith('/') ? `${entry.path}/` : entry.path;
  const records = paxRecords({ ...entry, path });
  const header = block({ ...entry, path }, tarTypeFlags[entry.type]);
  if (records.length === 0) return header;
  const data = Buffer.concat(records);
  const pax = block(
    { type: 'file', path: `PaxHeaders/${path}`, mode: 0o644, uid: 0, gid: 0, size: data.length, mtime: 0n },
    'x',
  );
  return Buffer.concat([pax, data, Buffer.alloc(tarPadding(data.length)), header]);
}

function paxRecords(entry: TarEntry): Buffer[] {
  const records: Buffer[] = [];
  const add = (key: string, value: string | Uint8Array): void => {
    records.push(paxRecord(key, typeof value === 'string' ? Buffer.from(value) : value));
  };
  if (splitName(entry.path) === undefined) add('path', entry.path);
  if (entry.link !== undefined && !fits(entry.link, 100)) add('linkpath', entry.link);
  if (entry.size > maxOctal11) add('size', String(entry.size));
  if (entry.uid > maxOctal7) add('uid', String(entry.uid));
  if (entry.gid > maxOctal7) add('gid', String(entry.gid));
  const seconds = secondsOf(entry.mtime);
  if (seconds * 1_000_000_000n !== entry.mtime || seconds < 0n || seconds > BigInt(maxOctal11)) {
    add('mtime', decimalSeconds(entry.mtime));
  }
  for (const [name, value] of [...(entry.xattrs ?? [])].sort(([a], [b]) => (a < b ? -1 : 1))) {
    add(`SCHILY.xattr.${name}`, value);
  }
  return records;
}

/** "length key=value\n", where the length counts its own digits. */
function paxRecord(key: string, value: Uint8Array): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function block(entry: TarEntry, flag: string): Buffer {
  const header = Buffer.alloc(tarBlock);
  const name = splitName(entry.path) ?? ['', cut(entry.path, 100)];
  header.write(name[1], 0, 100);
  octal(header, 100, 8, entry.mode & 0o7777);
  octal(header, 108, 8, entry.uid > maxOctal7 ? 0 : entry.uid);
  octal(header, 116, 8, entry.gid > maxOctal7 ? 0 : entry.gid);
  octal(header, 124, 12, entry.size > maxOctal11 ? 0 : entry.size);
  const seconds = secondsOf(entry.mtime);
  octal(header, 136, 12, seconds < 0n || seconds > BigInt(maxOctal11) ? 0 : Number(seconds));
  header.write('        ', 148);
  header.write(flag, 156);
  header.write(cut(entry.link ?? '', 100), 157, 100);
  header.write('ustar\x0000', 257);
  octal(header, 329, 8, entry.major ?? 0);
  octal(header, 337, 8, entry.minor ?? 0);
  header.write(name[0], 345, 155);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}

function octal(header: Buffer, at: number, width: number, value: number): void {
  header.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at);
}

function fits(text: string, bytes: number): boolean {
  // oxlint-disable-next-line no-control-regex -- ASCII is what is meant
  return text.length <= bytes && /^[\x01-\x7f]*$/.test(text);
}

/** What ustar's two name fields hold, or undefined where they can't. */
function splitName(path: string): [prefix: string, name: string] | undefined {
  if (fits(path, 100)) return ['', path];
  if (!fits(path, 256)) return undefined;
  // The name after the slash must not be empty, also where the path ends with one.
  const slash = path.indexOf('/', path.length - 101);
  return slash < 1 || slash > 155 || slash === path.length - 1
    ? undefined
    : [path.slice(0, slash), path.slice(slash + 1)];
}

/** For readers that don't know PAX: as much of the name as there is room for. */
function cut(text: string, bytes: number): string {
  let ascii = '';
  for (const c of text) ascii += c.charCodeAt(0) < 0x80 ? c : '_';
  return ascii.slice(0, bytes);
}

function secondsOf(ns: bigint): bigint {
  const seconds = ns / 1_000_000_000n;
  return ns < 0n && seconds * 1_000_000_000n !== ns ? seconds - 1n : seconds;
}

function decimalSeconds(ns: bigint): string {
  const magnitude = ns < 0n ? -ns : ns;
  const fraction = String(magnitude % 1_000_000_000n)
    .padStart(9, '0')
    .replace(/0+$/, '');
  return `${ns < 0n ? '-' : ''}${magnitude / 1_000_000_000n}${fraction && `.${fraction}`}`;
}
