/**
 * D-Bus messages as bytes (dbus-specification, "Message Protocol"): little endian, every value aligned to its size from the message's start.
 * Values by signature: strings for s, o and g; bigints for x and t; numbers for the other numbers; booleans; arrays (Uint8Array for ay);
 * arrays for structures; `Variant` for v. Dictionaries are arrays of pairs.
 */
import { KeelsonError } from '../ground/errors.ts';

/** A value that brings its type along. */
export interface Variant {
  readonly type: string;
  readonly value: DbusValue;
}
export type DbusValue = string | number | bigint | boolean | Uint8Array | Variant | readonly DbusValue[];

export const messageTypes = { call: 1, reply: 2, error: 3, signal: 4 } as const;

export interface DbusMessage {
  readonly type: number;
  readonly serial: number;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly errorName?: string;
  readonly replySerial?: number;
  readonly destination?: string;
  readonly signature?: string;
  readonly body?: readonly DbusValue[];
}

/** Sizes to which types are aligned, which is also how large the numbers among them are. */
const alignments: Readonly<Record<string, number>> = {
  ...{ y: 1, g: 1, v: 1, n: 2, q: 2, b: 4, i: 4, u: 4, s: 4, o: 4, a: 4 },
  ...{ x: 8, t: 8, d: 8, '(': 8, '{': 8 },
};
const maxMessage = 16 << 20;
const maxDepth = 32;

/** The first complete type of a signature: `a(so)u` gives `a(so)`. */
function firstType(signature: string, at = 0): string {
  const first = signature[at] ?? '';
  if (first === 'a') return `a${firstType(signature, at + 1)}`;
  if (first !== '(' && first !== '{') {
    if (!(first in alignments)) throw corrupt(`no type begins with ${JSON.stringify(first)}`);
    return first;
  }
  const end = first === '(' ? ')' : '}';
  let next = at + 1;
  while (signature[next] !== end) next += firstType(signature, next).length;
  return signature.slice(at, next + 1);
}

function typesOf(signature: string): readonly string[] {
  const types: string[] = [];
  for (let at = 0; at < signature.length; at += types.at(-1)?.length ?? 1) types.push(firstType(signature, at));
  return types;
}

const corrupt = (why: string): KeelsonError => new KeelsonError('corrupt', `a D-Bus message: ${why}`);

class Writer {
  readonly #parts: Buffer[] = [];
  size = 0;

  bytes(bytes: Uint8Array): void {
    this.#parts.push(Buffer.from(bytes));
    this.size += bytes.length;
  }

  align(to: number): void {
    this.bytes(Buffer.alloc(-this.size & (to - 1)));
  }

  u32(value: number): void {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    this.bytes(bytes);
  }

  value(type: string, value: DbusValue): void {
    const code = type[0] as string;
    this.align(alignments[code] ?? 1);
    if (code === 's' || code === 'o') {
      const text = Buffer.from(`${value as string}\0`);
      this.u32(text.length - 1);
      this.bytes(text);
    } else if (code === 'g') {
      const text = Buffer.from(`${value as string}\0`);
      this.bytes(Uint8Array.of(text.length - 1));
      this.bytes(text);
    } else if (code === 'v') {
      const variant = value as Variant;
      this.value('g', variant.type);
      this.value(variant.type, variant.value);
    } else if (code === 'a') this.#array(type.slice(1), value as Uint8Array | readonly DbusValue[]);
    else if (code === '(' || code === '{') {
      for (const [i, part] of typesOf(type.slice(1, -1)).entries())
        this.value(part, (value as readonly DbusValue[])[i] ?? '');
    } else this.#number(code, value);
  }

  #array(type: string, value: Uint8Array | readonly DbusValue[]): void {
    const content = new Writer();
    // The length counts from the first element on; what aligns that one does not belong to it.
    const alignment = alignments[type[0] as string] ?? 1;
    const start = (this.size + 4 + alignment - 1) & -alignment;
    content.size = start;
    if (value instanceof Uint8Array) content.bytes(value);
    else for (const one of value) content.value(type, one);
    this.u32(content.size - start);
    this.align(alignment);
    this.bytes(content.done());
  }

  #number(code: string, value: DbusValue): void {
    const bytes = Buffer.alloc(alignments[code] ?? 1);
    if (code === 'b') bytes.writeUInt32LE(value === true ? 1 : 0);
    else if (code === 'd') bytes.writeDoubleLE(Number(value));
    else if (bytes.length === 8) bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value as number | bigint)));
    else bytes.writeUIntLE(Number(BigInt.asUintN(bytes.length * 8, BigInt(value as number))), 0, bytes.length);
    this.bytes(bytes);
  }

  done(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

export function encodeMessage(message: DbusMessage): Buffer {
  const { signature = '', body = [] } = message;
  const content = new Writer();
  for (const [i, type] of typesOf(signature).entries()) content.value(type, body[i] ?? '');
  const bytes = content.done();
  const fields: readonly (readonly [number, string, DbusValue | undefined])[] = [
    [1, 'o', message.path],
    [2, 's', message.interface],
    [3, 's', message.member],
    [4, 's', message.errorName],
    [5, 'u', message.replySerial],
    [6, 's', message.destination],
    [8, 'g', signature === '' ? undefined : signature],
  ];
  const header = new Writer();
  header.bytes(Uint8Array.of('l'.charCodeAt(0), message.type, 0, 1));
  header.u32(bytes.length);
  header.u32(message.serial);
  const given = fields.flatMap(([code, type, value]) => (value === undefined ? [] : [[code, { type, value }]]));
  header.value('a(yv)', given);
  header.align(8);
  return Buffer.concat([header.done(), bytes]);
}

class Reader {
  readonly #bytes: Buffer;
  readonly #big: boolean;
  at: number;

  constructor(bytes: Buffer, at: number, big: boolean) {
    this.#bytes = bytes;
    this.at = at;
    this.#big = big;
  }

  #take(size: number): number {
    const from = this.at;
    if (size < 0 || from + size > this.#bytes.length) throw corrupt('it ends early');
    this.at += size;
    return from;
  }

  align(to: number): void {
    this.#take(-this.at & (to - 1));
  }

  u32(): number {
    const at = this.#take(4);
    return this.#big ? this.#bytes.readUInt32BE(at) : this.#bytes.readUInt32LE(at);
  }

  #text(size: number): string {
    const at = this.#take(size + 1);
    return this.#bytes.toString('utf8', at, at + size);
  }

  value(type: string, depth = 0): DbusValue {
    if (depth > maxDepth) throw corrupt('it is nested too deeply');
    const code = type[0] as string;
    this.align(alignments[code] ?? 1);
    if (code === 's' || code === 'o') return this.#text(this.u32());
    if (code === 'g') return this.#text(this.#bytes.readUInt8(this.#take(1)));
    if (code === 'v') {
      const signature = this.value('g') as string;
      const inner = firstType(signature);
      if (inner !== signature) throw corrupt('a variant of more than one type');
      return { type: inner, value: this.value(inner, depth + 1) };
    }
    if (code === 'a') return this.#array(type.slice(1), depth);
    if (code === '(' || code === '{') return typesOf(type.slice(1, -1)).map((part) => this.value(part, depth + 1));
    return this.#number(code);
  }

  #array(type: string, depth: number): DbusValue {
    const size = this.u32();
    this.align(alignments[type[0] as string] ?? 1);
    const end = this.at + size;
    if (type === 'y') return Uint8Array.from(this.#bytes.subarray(this.#take(size), end));
    const values: DbusValue[] = [];
    while (this.at < end) values.push(this.value(type, depth + 1));
    if (this.at !== end) throw corrupt('an array ends within a value');
    return values;
  }

  #number(code: string): DbusValue {
    const size = alignments[code] ?? 1;
    const at = this.#take(size);
    const bytes = Buffer.from(this.#bytes.subarray(at, at + size));
    if (this.#big) bytes.reverse();
    if (code === 'b') return bytes.readUInt32LE() !== 0;
    if (code === 'd') return bytes.readDoubleLE();
    if (code === 't') return bytes.readBigUInt64LE();
    if (code === 'x') return bytes.readBigInt64LE();
    return code === 'n' || code === 'i' ? bytes.readIntLE(0, size) : bytes.readUIntLE(0, size);
  }
}

/** The first message in `bytes` and its size; undefined while it is not all there. */
export function decodeMessage(bytes: Buffer): { readonly message: DbusMessage; readonly size: number } | undefined {
  if (bytes.length < 16) return undefined;
  const big = bytes[0] === 'B'.charCodeAt(0);
  if (!big && bytes[0] !== 'l'.charCodeAt(0)) throw corrupt('it is of neither byte order');
  const reader = new Reader(bytes, 4, big);
  const [bodySize, serial, fieldsSize] = [reader.u32(), reader.u32(), reader.u32()];
  const start = (16 + fieldsSize + 7) & -8;
  const size = start + bodySize;
  if (fieldsSize > maxMessage || bodySize > maxMessage) throw corrupt('it is larger than 16 MiB');
  if (bytes.length < size) return undefined;
  const whole = new Reader(bytes.subarray(0, size), 12, big);
  const fields = new Map((whole.value('a(yv)') as [number, Variant][]).map(([code, { value }]) => [code, value]));
  const text = (code: number, name: string) => (fields.has(code) ? { [name]: fields.get(code) as string } : {});
  const signature = (fields.get(8) as string | undefined) ?? '';
  whole.align(8);
  const body = typesOf(signature).map((type) => whole.value(type));
  const message = {
    type: bytes[1] ?? 0,
    serial,
    ...text(1, 'path'),
    ...text(2, 'interface'),
    ...text(3, 'member'),
    ...text(4, 'errorName'),
    ...(fields.has(5) && { replySerial: fields.get(5) as number }),
    signature,
    body,
  };
  return { message, size };
}
