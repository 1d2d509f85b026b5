/**
 * nf_tables: tables, chains, rules, sets and maps as messages, and what the kernel answers. Pure; see netlink.ts and
 * nftables-expressions.ts. Changes go out in one batch, which the kernel carries out whole or not at all.
 * Sources: include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h; compared with what nft(8) sends in the tests.
 */
import { KeelsonError } from '../ground/errors.ts';
import {
  be32,
  decodeAttributeList,
  decodeAttributes,
  encodeBatch,
  nested,
  NLA_F_NESTED,
  NLM_F_ACK,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_DUMP,
  numberOf,
  text,
  textOf,
  type Attribute,
  type Batch,
  type DecodedMessage,
  type Message,
} from './netlink.ts';
import { dataValue, dataVerdict, type Expression, type Verdict } from './nftables-expressions.ts';

export const NETLINK_NETFILTER = 12;
const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;

const command = {
  newTable: 0,
  getTable: 1,
  deleteTable: 2,
  newChain: 3,
  getChain: 4,
  deleteChain: 5,
  newRule: 6,
  getRule: 7,
  deleteRule: 8,
  newSet: 9,
  getSet: 10,
  deleteSet: 11,
  newElements: 12,
  getElements: 13,
  deleteElements: 14,
} as const;

export type Family = 'inet' | 'ip' | 'ip6' | 'bridge';
const families: Record<Family, number> = { inet: 1, ip: 2, bridge: 7, ip6: 10 };

/** Names of tables, chains and sets: NFT_NAME_MAXLEN is 256 with the NUL. */
function nameAttribute(type: number, name: string): Attribute {
  if (name === '' || Buffer.byteLength(name) > 255) {
    throw new KeelsonError('invalid-argument', `${JSON.stringify(name)} can't be a name in nftables`);
  }
  return text(type, name);
}

/** A table and its family: what every other object lives in. */
export interface Table {
  readonly family: Family;
  readonly name: string;
}

function message(name: keyof typeof command, table: Table, flags: number, attributes: readonly Attribute[]): Message {
  return {
    type: (NFNL_SUBSYS_NFTABLES << 8) | command[name],
    flags,
    // struct nfgenmsg: family, version, resource id (big endian)
    header: Uint8Array.of(families[table.family], 0, 0, 0),
    attributes: [nameAttribute(1, table.name), ...attributes],
  };
}

/**
 * A transaction. The last change asks for an acknowledgement and answers for all of them: the kernel sends it once everything
 * is in force. When a change is refused, the kernel undoes all, and answers with one error for each message that it refused.
 */
export function encodeTransaction(changes: readonly Message[]): Batch {
  const bracket = (type: number): Message => ({
    type,
    flags: 0,
    header: Uint8Array.of(0, 0, 0, NFNL_SUBSYS_NFTABLES),
    attributes: [],
  });
  const acked = changes.map((one, i) => (i === changes.length - 1 ? { ...one, flags: one.flags | NLM_F_ACK } : one));
  return encodeBatch([bracket(NFNL_MSG_BATCH_BEGIN), ...acked, bracket(NFNL_MSG_BATCH_END)]);
}

/** Nothing happens when it is there already. */
export function newTable(table: Table): Message {
  return message('newTable', table, 0, [be32(2, 0)]);
}

/** With everything in it. ENOENT when there is none. */
export function deleteTable(table: Table): Message {
  return message('deleteTable', table, 0, []);
}

const hooks = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;
/** The usual priorities by nft's names; `dstnat` is the one at which the kernel's own NAT works in prerouting and output. */
export const priorities = { raw: -300, mangle: -150, dstnat: -100, filter: 0, security: 50, srcnat: 100 } as const;

export interface BaseChain {
  readonly type: 'filter' | 'nat' | 'route';
  readonly hook: keyof typeof hooks;
  readonly priority: number;
  readonly policy: 'accept' | 'drop';
}

/** Without `base` a chain that others jump to. Nothing happens when it is there already, with the same base. */
export function newChain(table: Table, name: string, base?: BaseChain): Message {
  const attributes = [nameAttribute(3, name)];
  if (base) {
    attributes.push(
      text(7, base.type),
      be32(5, base.policy === 'accept' ? 1 : 0),
      nested(4 | NLA_F_NESTED, [be32(1, hooks[base.hook]), be32(2, base.priority)]),
    );
  }
  return message('newChain', table, NLM_F_CREATE, attributes);
}

export function deleteChain(table: Table, name: string): Message {
  return message('deleteChain', table, 0, [nameAttribute(3, name)]);
}

/** Appends to the chain. */
export function newRule(table: Table, chain: string, expressions: readonly Expression[]): Message {
  const list = nested(4 | NLA_F_NESTED, expressions);
  return message('newRule', table, NLM_F_CREATE | NLM_F_APPEND, [nameAttribute(2, chain), list]);
}

/** All rules of a chain, or of the table. */
export function deleteRules(table: Table, chain?: string): Message {
  return message('deleteRule', table, 0, chain === undefined ? [] : [nameAttribute(2, chain)]);
}

/**
 * The types of keys and data: nft's number for each (the kernel only stores them, `nft list` shows values by them), and size.
 * A concatenation's number is made of its parts', six bits each.
 */
const dataTypes = {
  ipv4_addr: { number: 7, size: 4 },
  ipv6_addr: { number: 8, size: 16 },
  inet_proto: { number: 12, size: 1 },
  inet_service: { number: 13, size: 2 },
  mark: { number: 19, size: 4 },
  ifname: { number: 41, size: 16 },
} as const;
export type DataType = keyof typeof dataTypes;

const words = (size: number): number => (size + 3) & ~3;
/** A single value keeps its size; the parts of a concatenation fill whole words. */
const sizeOf = (types: readonly DataType[]): number =>
  types.length === 1 && types[0]
    ? dataTypes[types[0]].size
    : types.reduce((sum, t) => sum + words(dataTypes[t].size), 0);
const numberOfTypes = (types: readonly DataType[]): number =>
  types.reduce((number, type) => number * 64 + dataTypes[type].number, 0);

export interface SetSpec {
  readonly name: string;
  readonly key: readonly DataType[];
  /** What a map maps to; absent for sets. */
  readonly data?: readonly DataType[] | 'verdict';
}

/** Nothing happens when it is there already with the same types. `id` tells sets of one batch apart. */
export function newSet(table: Table, set: SetSpec, id: number): Message {
  const flags = (set.data ? 8 : 0) | 0;
  const attributes = [
    nameAttribute(2, set.name),
    be32(3, flags),
    be32(4, numberOfTypes(set.key)),
    be32(5, sizeOf(set.key)),
  ];
  // NFT_DATA_VERDICT; its size is the kernel's own.
  if (set.data === 'verdict') attributes.push(be32(6, 0xffffff00 | 0), be32(7, 0));
  else if (set.data) attributes.push(be32(6, numberOfTypes(set.data)), be32(7, sizeOf(set.data)));
  return message('newSet', table, NLM_F_CREATE, [...attributes, be32(10, id)]);
}

export function deleteSet(table: Table, name: string): Message {
  return message('deleteSet', table, 0, [nameAttribute(2, name)]);
}

/** A value of a key or of data; with `slot`, it is filled in before sending. */
export interface Part {
  readonly value: Uint8Array;
  readonly slot?: string;
}

/** One entry. `key` and `data` are the parts of their concatenations. */
export interface SetElement {
  readonly key: readonly Part[];
  readonly data?: readonly Part[] | Verdict;
}

/** Parts one after the other, each padded to words when there are several. */
function concatenated(type: number, parts: readonly Part[]): Attribute {
  const padded = parts.map(({ value }) => (parts.length === 1 ? value : Buffer.concat([value], words(value.length))));
  let at = 4; // behind NFTA_DATA_VALUE's header
  const slots = parts.flatMap(({ slot }, i) => {
    const here = at;
    at += padded[i]?.length ?? 0;
    return slot === undefined ? [] : [{ name: slot, at: here }];
  });
  const value = dataValue(type, Buffer.concat(padded));
  return slots.length === 0 ? value : { ...value, slots };
}

function isVerdict(data: readonly Part[] | Verdict): data is Verdict {
  return !Array.isArray(data);
}

function elements(set: string, list: readonly SetElement[]): Attribute[] {
  const items = list.map(({ key, data }) => {
    const parts = [concatenated(1, key)];
    if (data) parts.push(isVerdict(data) ? dataVerdict(2, data) : concatenated(2, data));
    return nested(1 | NLA_F_NESTED, parts);
  });
  return [nameAttribute(2, set), nested(3 | NLA_F_NESTED, items)];
}

/** Adding what is there already changes nothing; the same key with other data is refused with EEXIST. */
export function addElements(table: Table, set: string, list: readonly SetElement[]): Message {
  return message('newElements', table, NLM_F_CREATE, elements(set, list));
}

/** ENOENT when one of them isn't there. Data is not looked at. */
export function deleteElements(table: Table, set: string, list: readonly SetElement[]): Message {
  return message(
    'deleteElements',
    table,
    0,
    elements(
      set,
      list.map(({ key }) => ({ key })),
    ),
  );
}

/** Every element. */
export function flushSet(table: Table, set: string): Message {
  return message('deleteElements', table, 0, [nameAttribute(2, set)]);
}

/** Asks for one element: ENOENT when the table, the set or the element is missing. A question of its own, not for a transaction. */
export function getElement(table: Table, set: string, element: SetElement): Message {
  return message('getElements', table, NLM_F_ACK, elements(set, [element]));
}

export function dumpElements(table: Table, set: string): Message {
  return message('getElements', table, NLM_F_DUMP, [nameAttribute(2, set)]);
}

/** All tables of all families. */
export function dumpTables(): Message {
  return dump('getTable');
}

/** All chains of all tables. */
export function dumpChains(): Message {
  return dump('getChain');
}

/** All sets of all tables. */
export function dumpSets(): Message {
  return dump('getSet');
}

function dump(name: keyof typeof command): Message {
  return {
    type: (NFNL_SUBSYS_NFTABLES << 8) | command[name],
    flags: NLM_F_DUMP,
    header: new Uint8Array(4),
    attributes: [],
  };
}

function decode(
  received: DecodedMessage,
  name: keyof typeof command,
): { family: string; of: Map<number, Uint8Array> } | undefined {
  if (received.type !== ((NFNL_SUBSYS_NFTABLES << 8) | command[name]) || received.body.length < 4) return undefined;
  const family = Object.entries(families).find(([, number]) => number === received.body[0])?.[0];
  return { family: family ?? String(received.body[0]), of: decodeAttributes(received.body.subarray(4)) };
}

/** `family` is a number in text for families that Keelson doesn't use. Undefined for other messages. */
export function decodeTable(received: DecodedMessage): { family: string; name: string } | undefined {
  const found = decode(received, 'newTable');
  return found && { family: found.family, name: textOf(found.of.get(1)) ?? '' };
}

export interface Chain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  /** For base chains. `hook` by its number in the family. */
  readonly base?: { readonly type: string; readonly hook: number; readonly priority: number; readonly drops: boolean };
}

export function decodeChain(received: DecodedMessage): Chain | undefined {
  const found = decode(received, 'newChain');
  if (!found) return undefined;
  const { family, of } = found;
  const chain = { family, table: textOf(of.get(1)) ?? '', name: textOf(of.get(3)) ?? '' };
  const hook = of.get(4);
  if (!hook) return chain;
  const parts = decodeAttributes(hook);
  return {
    ...chain,
    base: {
      type: textOf(of.get(7)) ?? '',
      hook: numberOf(parts.get(1), 'big') ?? 0,
      priority: (numberOf(parts.get(2), 'big') ?? 0) | 0,
      drops: numberOf(of.get(5), 'big') === 0,
    },
  };
}

export function decodeSet(received: DecodedMessage): { family: string; table: string; name: string } | undefined {
  const found = decode(received, 'newSet');
  return found && { family: found.family, table: textOf(found.of.get(1)) ?? '', name: textOf(found.of.get(2)) ?? '' };
}

export interface DecodedElements {
  readonly table: string;
  readonly set: string;
  /** Concatenations as they lie in memory: parts padded to words. `data` is absent for sets and verdict maps. */
  readonly elements: readonly { readonly key: Uint8Array; readonly data?: Uint8Array }[];
}

export function decodeElements(received: DecodedMessage): DecodedElements | undefined {
  const found = decode(received, 'newElements');
  if (!found) return undefined;
  const value = (nest: Uint8Array | undefined): Uint8Array | undefined => nest && decodeAttributes(nest).get(1);
  const list = decodeAttributeList(found.of.get(3) ?? new Uint8Array()).flatMap(({ payload }) => {
    const element = decodeAttributes(payload);
    const key = value(element.get(1));
    const data = value(element.get(2));
    if (!key) return [];
    return [data ? { key, data } : { key }];
  });
  return { table: textOf(found.of.get(1)) ?? '', set: textOf(found.of.get(2)) ?? '', elements: list };
}

/** For values that come with a slot: a placeholder of the given size. */
export function placeholder(slot: string, size: number): Part {
  return { value: new Uint8Array(size), slot };
}
