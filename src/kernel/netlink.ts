/**
 * Netlink messages as bytes: attributes, messages, batches, and the way back. Pure; nothing is sent here. A batch says how many
 * acknowledgements its sender has to await, and at which offsets a register's value is to be written before it goes out (slots).
 * Sources: netlink(7), include/uapi/linux/netlink.h. Everything is little endian: x86_64 and arm64 are.
 */
import { KeelsonError } from '../ground/errors.ts';

export const NLM_F_REQUEST = 0x1;
/** The kernel answers this message with an NLMSG_ERROR even when it succeeds; it always does when it fails. */
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
/** In an attribute's type: the payload is attributes. */
export const NLA_F_NESTED = 0x8000;

/** Bytes of struct nlmsghdr: the first message's own header begins here. */
export const messageHeaderSize = 16;
const attributeHeaderSize = 4;

/** A place of four bytes (or as many as its user knows) that is filled in just before sending. */
export interface Slot {
  readonly name: string;
  readonly at: number;
}

/** `slots` are offsets in the payload. */
export interface Attribute {
  readonly type: number;
  readonly payload: Uint8Array;
  readonly slots?: readonly Slot[];
}

export interface Message {
  readonly type: number;
  /** NLM_F_…; NLM_F_REQUEST is added. */
  readonly flags: number;
  /** The family's own header: ifinfomsg, nfgenmsg … */
  readonly header: Uint8Array;
  /** Offsets in `header`. */
  readonly headerSlots?: readonly Slot[];
  readonly attributes: readonly Attribute[];
}

export interface Batch {
  readonly bytes: Uint8Array;
  /** How many NLMSG_ERROR and NLMSG_DONE messages come back when all goes well. */
  readonly acks: number;
  /** Offsets in `bytes`; a name may occur several times. */
  readonly slots: readonly Slot[];
}

/**
 * An attribute's length field has 16 bits and counts its header. A longer payload is refused here, once for all: wrapping
 * around would let the tail of a payload be read as attributes of its own (CVE-2021-43784).
 */
function attribute(type: number, payload: Uint8Array, slots: readonly Slot[] = []): Attribute {
  if (payload.length + attributeHeaderSize > 0xffff) {
    throw new KeelsonError(
      'invalid-argument',
      `netlink attribute ${type & ~NLA_F_NESTED}: ${payload.length} bytes are more than the ${0xffff - attributeHeaderSize} that one can hold`,
    );
  }
  return slots.length === 0 ? { type, payload } : { type, payload, slots };
}

export function bytes(type: number, payload: Uint8Array): Attribute {
  return attribute(type, payload);
}

function integer(type: number, value: number, size: 1 | 2 | 4, bigEndian: boolean): Attribute {
  const low = size === 4 ? -0x80000000 : 0;
  if (!Number.isInteger(value) || value < low || value >= 2 ** (8 * size)) {
    throw new KeelsonError(
      'invalid-argument',
      `netlink attribute ${type}: ${value} is not an integer of ${8 * size} bits`,
    );
  }
  const payload = Buffer.alloc(size);
  const unsigned = size === 4 ? value >>> 0 : value;
  if (bigEndian) payload.writeUIntBE(unsigned, 0, size);
  else payload.writeUIntLE(unsigned, 0, size);
  return attribute(type, payload);
}

export const u8 = (type: number, value: number): Attribute => integer(type, value, 1, false);
export const u16 = (type: number, value: number): Attribute => integer(type, value, 2, false);
export const be16 = (type: number, value: number): Attribute => integer(type, value, 2, true);
/** Negative numbers are taken as their two's complement. */
export const u32 = (type: number, value: number): Attribute => integer(type, value, 4, false);
export const be32 = (type: number, value: number): Attribute => integer(type, value, 4, true);

/** A NUL-terminated string. Refuses one that holds a NUL. */
export function text(type: number, value: string): Attribute {
  if (value.includes('\0')) {
    throw new KeelsonError('invalid-argument', `netlink attribute ${type}: NUL in ${JSON.stringify(value)}`);
  }
  return attribute(type, Buffer.from(`${value}\0`));
}

/** Attributes within an attribute. nf_tables wants NLA_F_NESTED in the type; rtnetlink does without. */
export function nested(type: number, attributes: readonly Attribute[]): Attribute {
  const parts: Uint8Array[] = [];
  const slots: Slot[] = [];
  let size = 0;
  for (const one of attributes) {
    for (const slot of one.slots ?? []) slots.push({ name: slot.name, at: size + attributeHeaderSize + slot.at });
    size += pushAttribute(parts, one);
  }
  return attribute(type, Buffer.concat(parts), slots);
}

/** The same attribute with its payload marked as a slot. */
export function slotted(name: string, one: Attribute): Attribute {
  return { ...one, slots: [...(one.slots ?? []), { name, at: 0 }] };
}

/** A number, or the name of a slot to be filled in by the plan. */
export type Filled = number | { readonly slot: string };

/** A 32-bit attribute whose value is known now or later. */
export function filled(type: number, value: Filled): Attribute {
  return typeof value === 'number' ? u32(type, value) : slotted(value.slot, u32(type, 0));
}

function pushAttribute(parts: Uint8Array[], { type, payload }: Attribute): number {
  const header = Buffer.alloc(attributeHeaderSize);
  header.writeUInt16LE(payload.length + attributeHeaderSize, 0);
  header.writeUInt16LE(type, 2);
  parts.push(header, payload);
  return attributeHeaderSize + pushPadding(parts, payload.length);
}

/** Pads to four bytes; returns the size with the padding. */
function pushPadding(parts: Uint8Array[], size: number): number {
  const padding = -size & 3;
  if (padding > 0) parts.push(Buffer.alloc(padding));
  return size + padding;
}

/** One buffer to be sent by a single sendmsg(2). Sequence numbers count up from `firstSequence`; the port id is left to the kernel. */
export function encodeBatch(messages: readonly Message[], firstSequence = 1): Batch {
  const parts: Uint8Array[] = [];
  const slots: Slot[] = [];
  let start = 0;
  let acks = 0;
  for (const [index, message] of messages.entries()) {
    const header = Buffer.alloc(messageHeaderSize);
    parts.push(header, message.header);
    for (const slot of message.headerSlots ?? []) {
      slots.push({ name: slot.name, at: start + messageHeaderSize + slot.at });
    }
    let size = messageHeaderSize + pushPadding(parts, message.header.length);
    for (const one of message.attributes) {
      for (const slot of one.slots ?? []) {
        slots.push({ name: slot.name, at: start + size + attributeHeaderSize + slot.at });
      }
      size += pushAttribute(parts, one);
    }
    header.writeUInt32LE(size, 0);
    header.writeUInt16LE(message.type, 4);
    header.writeUInt16LE(message.flags | NLM_F_REQUEST, 6);
    header.writeUInt32LE((firstSequence + index) >>> 0, 8);
    if (message.flags & NLM_F_ACK || (message.flags & NLM_F_DUMP) === NLM_F_DUMP) acks++;
    start += size;
  }
  return { bytes: Buffer.concat(parts), acks, slots };
}

/** The offsets of a slot in a batch. Throws for a name that the batch doesn't have. */
export function slotsNamed(batch: Batch, name: string): readonly number[] {
  const found = batch.slots.filter((slot) => slot.name === name).map((slot) => slot.at);
  if (found.length === 0) throw new KeelsonError('internal', `netlink batch without a slot ${name}`);
  return found;
}

export interface DecodedMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** Everything after struct nlmsghdr. */
  readonly body: Uint8Array;
}

/** Splits what a netlink socket delivered. Throws `corrupt` when a length leads outside. */
export function decodeMessages(data: Uint8Array): DecodedMessage[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const messages: DecodedMessage[] = [];
  for (let at = 0; at < data.length; ) {
    const size = data.length - at >= messageHeaderSize ? view.getUint32(at, true) : 0;
    if (size < messageHeaderSize || size > data.length - at) {
      throw new KeelsonError('corrupt', `netlink message at byte ${at} of ${data.length}: length ${size}`);
    }
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      body: data.subarray(at + messageHeaderSize, at + size),
    });
    at += size + (-size & 3);
  }
  return messages;
}

/** In their order; a type can occur several times (list elements do). Flags are cut off the types. */
export function decodeAttributeList(data: Uint8Array): { type: number; payload: Uint8Array }[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const attributes: { type: number; payload: Uint8Array }[] = [];
  for (let at = 0; at < data.length; ) {
    const size = data.length - at >= attributeHeaderSize ? view.getUint16(at, true) : 0;
    if (size < attributeHeaderSize || size > data.length - at) {
      throw new KeelsonError('corrupt', `netlink attribute at byte ${at} of ${data.length}: length ${size}`);
    }
    attributes.push({
      type: view.getUint16(at + 2, true) & 0x3fff,
      payload: data.subarray(at + attributeHeaderSize, at + size),
    });
    at += size + (-size & 3);
  }
  return attributes;
}

/** By type; of a type that occurs several times, the last. */
export function decodeAttributes(data: Uint8Array): Map<number, Uint8Array> {
  return new Map(decodeAttributeList(data).map(({ type, payload }) => [type, payload]));
}

/** A string up to its NUL. */
export function textOf(payload: Uint8Array | undefined): string | undefined {
  if (payload === undefined) return undefined;
  const end = payload.indexOf(0);
  return Buffer.from(payload.subarray(0, end < 0 ? payload.length : end)).toString();
}

/** Throws `corrupt` for a payload of another size. */
export function numberOf(payload: Uint8Array | undefined, endian: 'little' | 'big' = 'little'): number | undefined {
  if (payload === undefined) return undefined;
  const buffer = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  if (buffer.length !== 1 && buffer.length !== 2 && buffer.length !== 4) {
    throw new KeelsonError('corrupt', `netlink attribute of ${buffer.length} bytes where a number was expected`);
  }
  return endian === 'little' ? buffer.readUIntLE(0, buffer.length) : buffer.readUIntBE(0, buffer.length);
}
