/**
 * The expressions of nf_tables rules as attributes: each function is one instruction for the kernel's small register machine.
 * Registers are 32-bit words 0 to 15 here; a value longer than a word goes on in the next ones, so that a key made of several
 * values (a concatenation) is read from neighbouring words. Source: include/uapi/linux/netfilter/nf_tables.h, net/netfilter/nft_*.c.
 */
import { KeelsonError } from '../ground/errors.ts';
import { maskByte, type Prefix } from './ip-address.ts';
import { be32, bytes, nested, NLA_F_NESTED, text, type Attribute } from './netlink.ts';

export type Expression = Attribute;

const NFTA_LIST_ELEM: number = 1 | NLA_F_NESTED;
const NFTA_EXPR_NAME = 1;
const NFTA_EXPR_DATA: number = 2 | NLA_F_NESTED;
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT: number = 2 | NLA_F_NESTED;
const NFT_REG_VERDICT = 0;
/** Register words 0, 4, 8 and 12 have the old names NFT_REG_1 to NFT_REG_4 (1 to 4), the others NFT_REG32_00 + n (8 + n). */
const registerNumber = (word: number): number => (word % 4 === 0 ? 1 + word / 4 : 8 + word);

const codes = { drop: 0, accept: 1, continue: -1, jump: -3, goto: -4, return: -5 } as const;

/** What becomes of a packet; `jump` and `goto` name a chain of the same table. */
export type Verdict = 'drop' | 'accept' | 'continue' | 'return' | { readonly jump: string } | { readonly goto: string };

function expression(name: string, data?: readonly Attribute[]): Expression {
  const parts = [text(NFTA_EXPR_NAME, name)];
  if (data) parts.push(nested(NFTA_EXPR_DATA, data));
  return nested(NFTA_LIST_ELEM, parts);
}

function register(type: number, word: number): Attribute {
  if (!Number.isInteger(word) || word < 0 || word > 15) throw new KeelsonError('internal', `nftables register ${word}`);
  return be32(type, registerNumber(word));
}

/** NFTA_DATA_VALUE in an attribute of `type`. */
export function dataValue(type: number, value: Uint8Array): Attribute {
  return nested(type | NLA_F_NESTED, [bytes(NFTA_DATA_VALUE, value)]);
}

/** A verdict in an attribute of `type`; also the data of verdict maps' elements. */
export function dataVerdict(type: number, what: Verdict): Attribute {
  const code = typeof what === 'string' ? what : 'jump' in what ? 'jump' : 'goto';
  const chain = typeof what === 'string' ? undefined : 'jump' in what ? what.jump : what.goto;
  const attributes = [be32(1, codes[code])];
  if (chain !== undefined) attributes.push(text(2, chain));
  return nested(type | NLA_F_NESTED, [nested(NFTA_DATA_VERDICT, attributes)]);
}

const metaKeys = { mark: 3, iif: 4, oif: 5, iifname: 6, oifname: 7, nfproto: 15, l4proto: 16, pkttype: 19 } as const;

/** Loads a fact about the packet. Interface names are 16 bytes, `nfproto` and `l4proto` one, the others four in host order. */
export function meta(key: keyof typeof metaKeys, to = 0): Expression {
  return expression('meta', [be32(2, metaKeys[key]), register(1, to)]);
}

const bases = { link: 0, network: 1, transport: 2 } as const;

/** Loads bytes of the packet, counted from a header's beginning. */
export function payload(base: keyof typeof bases, offset: number, length: number, to = 0): Expression {
  return expression('payload', [register(1, to), be32(2, bases[base]), be32(3, offset), be32(4, length)]);
}

const comparisons = { '==': 0, '!=': 1, '<': 2, '<=': 3, '>': 4, '>=': 5 } as const;

/** Goes on with the rule only when the comparison holds (byte by byte, as memcmp). */
export function compare(is: keyof typeof comparisons, value: Uint8Array, from = 0): Expression {
  return expression('cmp', [register(1, from), be32(2, comparisons[is]), dataValue(3, value)]);
}

/** to = (from & mask) ^ xor. */
export function bitwise(mask: Uint8Array, xor: Uint8Array = new Uint8Array(mask.length), from = 0, to = 0): Expression {
  return expression('bitwise', [
    register(1, from),
    register(2, to),
    be32(3, mask.length),
    dataValue(4, mask),
    dataValue(5, xor),
  ]);
}

/** Loads a constant. */
export function immediate(value: Uint8Array, to = 0): Expression {
  return expression('immediate', [register(1, to), dataValue(2, value)]);
}

/** Ends the rule: what becomes of the packet. */
export function verdict(what: Verdict): Expression {
  return expression('immediate', [be32(1, NFT_REG_VERDICT), dataVerdict(2, what)]);
}

/** Goes on only when the key at `from` is in the set (or, `not`, isn't). */
export function lookup(set: string, options: { from?: number; not?: boolean } = {}): Expression {
  const attributes = [register(2, options.from ?? 0), text(1, set)];
  if (options.not) attributes.push(be32(5, 1));
  return expression('lookup', attributes);
}

/** Goes on only when the key at `from` is in the map; its data is loaded at `to`, or is the verdict. */
export function lookupMap(map: string, options: { from?: number; to: number | 'verdict' }): Expression {
  const to = options.to === 'verdict' ? be32(3, NFT_REG_VERDICT) : register(3, options.to);
  return expression('lookup', [register(2, options.from ?? 0), to, text(1, map)]);
}

/** Rewrites destination (dnat) or source (snat) with the address, and the port where given, found in registers. Ends the rule. */
export function nat(options: {
  type: 'snat' | 'dnat';
  family: 'ip' | 'ip6';
  address: number;
  port?: number;
}): Expression {
  const attributes = [
    be32(1, options.type === 'snat' ? 0 : 1),
    be32(2, options.family === 'ip' ? 2 : 10),
    register(3, options.address),
  ];
  if (options.port !== undefined) attributes.push(register(5, options.port));
  return expression('nat', attributes);
}

/** Rewrites the source with an address of the interface the packet leaves by. Ends the rule. */
export function masquerade(): Expression {
  return expression('masq', []);
}

export function notrack(): Expression {
  return expression('notrack');
}

export function counter(): Expression {
  return expression('counter', []);
}

const ctKeys = { state: 0, status: 2, mark: 3 } as const;
/** Bits of `ct state` and `ct status`. */
export const ctState = { invalid: 1, established: 2, related: 4, new: 8 } as const;
export const ctStatus = { snat: 0x10, dnat: 0x20 } as const;

/** Loads four bytes of the connection the packet belongs to, in host order. */
export function ct(key: keyof typeof ctKeys, to = 0): Expression {
  return expression('ct', [be32(2, ctKeys[key]), register(1, to)]);
}

const addressTypes = { unicast: 1, local: 2, broadcast: 3, multicast: 5 } as const;

/** Loads what the routing tables say of the packet's destination (or source): an address type, four bytes in host order. */
export function fibType(of: 'saddr' | 'daddr', to = 0): Expression {
  return expression('fib', [be32(3, of === 'daddr' ? 2 : 1), be32(2, 3), register(1, to)]);
}

function hostOrder(value: number): Uint8Array {
  const word = Buffer.alloc(4);
  word.writeUInt32LE(value);
  return word;
}

// What rules are made of: several instructions that read as one condition.

/** `meta iifname "x"`: the name padded to 16 bytes with NULs. */
export function whenInterface(key: 'iifname' | 'oifname', is: '==' | '!=', name: string): Expression[] {
  return [meta(key), compare(is, Buffer.concat([Buffer.from(name), Buffer.alloc(16)], 16))];
}

/** `meta nfproto ipv4`: needed in `inet` tables before the network header is looked at. */
export function whenFamily(family: 'ip' | 'ip6'): Expression[] {
  return [meta('nfproto'), compare('==', Uint8Array.of(family === 'ip' ? 2 : 10))];
}

/** `ip daddr 10.77.0.0/16`, with the check of the family. */
export function whenAddress(which: 'saddr' | 'daddr', { address, length }: Prefix): Expression[] {
  const family = address.length === 4 ? 'ip' : 'ip6';
  const offset = addressOffset(family, which);
  if (length === 0) return whenFamily(family);
  if (length % 8 === 0) {
    const whole = length / 8;
    return [...whenFamily(family), payload('network', offset, whole), compare('==', address.subarray(0, whole))];
  }
  const mask = address.map((_, i) => maskByte(length, i));
  return [...whenFamily(family), payload('network', offset, address.length), bitwise(mask), compare('==', address)];
}

/** Where an address lies in the network header. */
export function addressOffset(family: 'ip' | 'ip6', which: 'saddr' | 'daddr'): number {
  if (family === 'ip') return which === 'saddr' ? 12 : 16;
  return which === 'saddr' ? 8 : 24;
}

/** `ct state established,related`, `ct status dnat`: any of the bits. */
export function whenCt(key: 'state' | 'status', bits: number): Expression[] {
  return [ct(key), bitwise(hostOrder(bits)), compare('!=', hostOrder(0))];
}

/** `fib daddr type local`. */
export function whenAddressType(of: 'saddr' | 'daddr', type: keyof typeof addressTypes): Expression[] {
  return [fibType(of), compare('==', hostOrder(addressTypes[type]))];
}
