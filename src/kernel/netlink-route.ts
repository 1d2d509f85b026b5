/**
 * rtnetlink: links, addresses, routes as messages, and what the kernel answers. Pure; see netlink.ts.
 * Sources: rtnetlink(7), include/uapi/linux/{rtnetlink,if_link,if_addr}.h; compared with what iproute2 sends in the tests.
 */
import { KeelsonError } from '../ground/errors.ts';
import { AF_INET6, familyOf, formatIp, type Prefix } from './ip-address.ts';
import {
  bytes,
  decodeAttributes,
  filled,
  nested,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  numberOf,
  text,
  textOf,
  u32,
  u8,
  type Attribute,
  type DecodedMessage,
  type Filled,
  type Message,
  type Slot,
} from './netlink.ts';

export const NETLINK_ROUTE = 0;
export const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
const RTM_GETROUTE = 26;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_NET_NS_PID = 19;
const IFLA_AF_SPEC = 26;
const IFLA_NET_NS_FD = 28;
const IFLA_EXT_MASK = 29;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IFLA_BRPORT_MODE = 4;
const VETH_INFO_PEER = 1;
/** Leaves the counters out of the answer. */
const RTEXT_FILTER_SKIP_STATS = 8;
export const IFF_UP = 1;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_FLAGS = 8;
/** Usable at once: no duplicate address detection. */
const IFA_F_NODAD = 0x02;
/** Not learned, hence without an end. */
const IFA_F_PERMANENT = 0x80;
const RT_SCOPE_UNIVERSE = 0;

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_TABLE = 15;

const change = NLM_F_ACK;
const create: number = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;

/** IFNAMSIZ and dev_valid_name: 1 to 15 bytes, no `/`, `:` or white space, not `.` or `..`. Throws `invalid-argument`. */
export function interfaceName(name: string): string {
  if (!/^[^\s/:\0]+$/.test(name) || name === '.' || name === '..' || Buffer.byteLength(name) > 15) {
    throw new KeelsonError('invalid-argument', `${JSON.stringify(name)} can't be the name of a network interface`);
  }
  return name;
}

/** `02:42:0a:4d:00:02` to six bytes. Throws `invalid-argument`. */
export function parseMac(mac: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) {
    throw new KeelsonError('invalid-argument', `${JSON.stringify(mac)} is not a MAC address`);
  }
  return Uint8Array.from(mac.split(':'), (byte) => Number.parseInt(byte, 16));
}

export function formatMac(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function ifinfo(options: { index?: Filled; up?: boolean; family?: number }): { header: Buffer; headerSlots: Slot[] } {
  const header = Buffer.alloc(16);
  header.writeUInt8(options.family ?? 0, 0);
  if (options.up !== undefined) {
    header.writeUInt32LE(options.up ? IFF_UP : 0, 8);
    header.writeUInt32LE(IFF_UP, 12);
  }
  const { index = 0 } = options;
  if (typeof index === 'number') header.writeInt32LE(index, 4);
  return { header, headerSlots: typeof index === 'number' ? [] : [{ name: index.slot, at: 4 }] };
}

/** What any link can be given when it is made or changed. */
export interface LinkOptions {
  readonly mac?: string;
  readonly mtu?: number;
  readonly up?: boolean;
  /** Index of the bridge it becomes a port of; 0 takes it out. */
  readonly master?: Filled;
  /**
   * No link-local address, hence no router solicitation and no multicast reports: for bridge ports. Only for setLink, before the
   * link is set up: EAFNOSUPPORT for a link that is being made.
   */
  readonly noLinkLocal?: boolean;
}

function linkAttributes(options: LinkOptions & { name?: string }): Attribute[] {
  const attributes: Attribute[] = [];
  if (options.mac !== undefined) attributes.push(bytes(IFLA_ADDRESS, parseMac(options.mac)));
  if (options.mtu !== undefined) attributes.push(u32(IFLA_MTU, options.mtu));
  if (options.name !== undefined) attributes.push(text(IFLA_IFNAME, interfaceName(options.name)));
  if (options.master !== undefined) attributes.push(filled(IFLA_MASTER, options.master));
  if (options.noLinkLocal) {
    attributes.push(nested(IFLA_AF_SPEC, [nested(AF_INET6, [u8(IFLA_INET6_ADDR_GEN_MODE, 1)])]));
  }
  return attributes;
}

/** Options of a bridge by their number in enum IFLA_BR_…, the kernel's defaults where absent. */
export interface BridgeOptions {
  /** Hundredths of a second. */
  readonly forwardDelay?: number;
  readonly stp?: boolean;
  readonly vlanFiltering?: boolean;
  readonly multicastSnooping?: boolean;
}

/** EEXIST when the name is taken. */
export function newBridge(options: LinkOptions & BridgeOptions & { name: string }): Message {
  const data: Attribute[] = [];
  if (options.forwardDelay !== undefined) data.push(u32(1, options.forwardDelay));
  if (options.stp !== undefined) data.push(u32(5, Number(options.stp)));
  if (options.vlanFiltering !== undefined) data.push(u8(7, Number(options.vlanFiltering)));
  if (options.multicastSnooping !== undefined) data.push(u8(23, Number(options.multicastSnooping)));
  const info = [bytes(IFLA_INFO_KIND, Buffer.from('bridge'))];
  if (data.length > 0) info.push(nested(IFLA_INFO_DATA, data));
  return {
    type: RTM_NEWLINK,
    flags: create,
    ...ifinfo(options),
    attributes: [...linkAttributes(options), nested(IFLA_LINKINFO, info)],
  };
}

/** Where a link's other end goes: the network namespace of a process, or the one that a descriptor of the sender refers to. */
export type NetNs = { readonly pid: Filled } | { readonly fd: Filled };

function netNs(ns: NetNs): Attribute {
  return 'pid' in ns ? filled(IFLA_NET_NS_PID, ns.pid) : filled(IFLA_NET_NS_FD, ns.fd);
}

/**
 * A pair of which this end stays here and `peer` begins its life in `peer.netns`, under its final name: no rename, no move.
 * One message does it all: made, named, addressed, attached to the
 * master. Only this end can be up at once: ENOTCONN for the peer, which is made first.
 */
export function newVeth(
  options: LinkOptions & { name: string; peer: Omit<LinkOptions, 'master'> & { name: string; netns?: NetNs } },
): Message {
  const { peer } = options;
  const peerAttributes = linkAttributes(peer);
  if (peer.netns) peerAttributes.push(netNs(peer.netns));
  const inner = nested(0, peerAttributes);
  const head = ifinfo(peer).header;
  const info: Attribute = {
    ...bytes(VETH_INFO_PEER, Buffer.concat([head, inner.payload])),
    slots: (inner.slots ?? []).map((slot) => ({ name: slot.name, at: slot.at + head.length })),
  };
  const linkInfo = nested(IFLA_LINKINFO, [bytes(IFLA_INFO_KIND, Buffer.from('veth')), nested(IFLA_INFO_DATA, [info])]);
  return {
    type: RTM_NEWLINK,
    flags: create,
    ...ifinfo(options),
    attributes: [...linkAttributes(options), linkInfo],
  };
}

/** Which link a message is about. */
export type LinkRef = { readonly index: Filled } | { readonly name: string };

function byRef(ref: LinkRef): { index?: Filled; attributes: Attribute[] } {
  if ('index' in ref) return { index: ref.index, attributes: [] };
  return { attributes: [text(IFLA_IFNAME, interfaceName(ref.name))] };
}

/** Changes a link. `rename` needs the reference to be an index (a name would be taken as the new one), and the link to be down. */
export function setLink(ref: LinkRef, options: LinkOptions & { rename?: string; netns?: NetNs }): Message {
  const { index, attributes } = byRef(ref);
  if (options.rename !== undefined && index === undefined) {
    throw new KeelsonError('internal', `renaming a link to ${options.rename} needs its index`);
  }
  const named = options.rename === undefined ? options : { ...options, name: options.rename };
  return {
    type: RTM_NEWLINK,
    flags: change,
    ...ifinfo({ ...options, ...(index !== undefined && { index }) }),
    attributes: [...attributes, ...linkAttributes(named), ...(options.netns ? [netNs(options.netns)] : [])],
  };
}

/** Lets a bridge send a frame back through the port it came from. The link must be a port already. */
export function setHairpin(ref: LinkRef, on: boolean): Message {
  const { index, attributes } = byRef(ref);
  const slave = [
    bytes(IFLA_INFO_SLAVE_KIND, Buffer.from('bridge')),
    nested(IFLA_INFO_SLAVE_DATA, [u8(IFLA_BRPORT_MODE, Number(on))]),
  ];
  return {
    type: RTM_NEWLINK,
    flags: change,
    ...ifinfo(index === undefined ? {} : { index }),
    attributes: [...attributes, nested(IFLA_LINKINFO, slave)],
  };
}

/** Asks for one link: the answer is one RTM_NEWLINK (decodeLink), then the ack. ENODEV when there is none. */
export function getLink(ref: LinkRef): Message {
  const { index, attributes } = byRef(ref);
  return {
    type: RTM_GETLINK,
    flags: NLM_F_ACK,
    ...ifinfo(index === undefined ? {} : { index }),
    attributes: [u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS), ...attributes],
  };
}

/** Offsets in the answer to getLink, from the first byte of its struct nlmsghdr. */
export const linkAnswer = { index: 20, flags: 24 } as const;

export function dumpLinks(): Message {
  const attributes = [u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)];
  return { type: RTM_GETLINK, flags: NLM_F_DUMP, ...ifinfo({}), attributes };
}

/** A veth's other end goes with it. */
export function deleteLink(ref: LinkRef): Message {
  const { index, attributes } = byRef(ref);
  return { type: RTM_DELLINK, flags: change, ...ifinfo(index === undefined ? {} : { index }), attributes };
}

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly up: boolean;
  readonly mac: string;
  readonly mtu: number;
  /** Index of the bridge it is a port of; 0 for none. */
  readonly master: number;
  /** `bridge`, `veth`, …; '' for links that are hardware. */
  readonly kind: string;
}

/** Undefined for messages of other types. */
export function decodeLink(message: DecodedMessage): Link | undefined {
  if (message.type !== RTM_NEWLINK) return undefined;
  const view = headerOf(message, 16);
  const attributes = decodeAttributes(message.body.subarray(16));
  const info = attributes.get(IFLA_LINKINFO);
  return {
    index: view.getInt32(4, true),
    name: textOf(attributes.get(IFLA_IFNAME)) ?? '',
    up: (view.getUint32(8, true) & IFF_UP) !== 0,
    mac: formatMac(attributes.get(IFLA_ADDRESS) ?? new Uint8Array()),
    mtu: numberOf(attributes.get(IFLA_MTU)) ?? 0,
    master: numberOf(attributes.get(IFLA_MASTER)) ?? 0,
    kind: info ? (textOf(decodeAttributes(info).get(IFLA_INFO_KIND)) ?? '') : '',
  };
}

function headerOf(message: DecodedMessage, size: number): DataView {
  if (message.body.length < size) {
    throw new KeelsonError('corrupt', `netlink message of type ${message.type}: ${message.body.length} bytes`);
  }
  return new DataView(message.body.buffer, message.body.byteOffset, message.body.byteLength);
}

function ifaddr(index: Filled, address: Uint8Array, prefixLength: number): { header: Buffer; headerSlots: Slot[] } {
  const header = Buffer.from([familyOf(address), prefixLength, 0, 0, 0, 0, 0, 0]);
  if (typeof index === 'number') header.writeInt32LE(index, 4);
  return { header, headerSlots: typeof index === 'number' ? [] : [{ name: index.slot, at: 4 }] };
}

/**
 * Gives a link an address. IPv4 gets the broadcast address of its network, as docker does; IPv6 skips duplicate address
 * detection, which would keep it from being used for a second. EEXIST when the link has it already.
 */
export function newAddress(index: Filled, address: Uint8Array, prefixLength: number): Message {
  const attributes = [bytes(IFA_LOCAL, address), bytes(IFA_ADDRESS, address)];
  const { header, headerSlots } = ifaddr(index, address, prefixLength);
  if (address.length === 16) header.writeUInt8(IFA_F_NODAD, 2);
  else if (prefixLength < 31) {
    const broadcast = (Buffer.from(address).readUInt32BE() | (0xffffffff >>> prefixLength)) >>> 0;
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(broadcast);
    attributes.splice(1, 0, bytes(IFA_BROADCAST, payload));
  }
  return { type: RTM_NEWADDR, flags: create, header, headerSlots, attributes };
}

export function deleteAddress(index: Filled, address: Uint8Array, prefixLength: number): Message {
  const attributes = [bytes(IFA_LOCAL, address)];
  return { type: RTM_DELADDR, flags: change, ...ifaddr(index, address, prefixLength), attributes };
}

/** `family`: AF_INET, AF_INET6, or 0 for both. */
export function dumpAddresses(family = 0): Message {
  return { type: RTM_GETADDR, flags: NLM_F_DUMP, header: Buffer.from([family, 0, 0, 0, 0, 0, 0, 0]), attributes: [] };
}

export interface LinkAddress {
  readonly index: number;
  readonly address: string;
  readonly prefixLength: number;
  readonly flags: number;
}

export function decodeAddress(message: DecodedMessage): LinkAddress | undefined {
  if (message.type !== RTM_NEWADDR) return undefined;
  const view = headerOf(message, 8);
  const attributes = decodeAttributes(message.body.subarray(8));
  const address = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
  return {
    index: view.getInt32(4, true),
    address: address ? formatIp(address) : '',
    prefixLength: view.getUint8(1),
    flags: numberOf(attributes.get(IFA_FLAGS)) ?? view.getUint8(2),
  };
}

/**
 * From an address that a dump told of, the message that gives it to another link. Undefined for one of another link than `of`, and for what
 * is not global or not there to stay.
 */
export function readdress(message: DecodedMessage, of: number, to: Filled): Message | undefined {
  const found = decodeAddress(message);
  if (found?.index !== of || !(found.flags & IFA_F_PERMANENT)) return undefined;
  const scope = message.body[3] ?? 0;
  if (scope !== RT_SCOPE_UNIVERSE) return undefined;
  const given = decodeAttributes(message.body.subarray(8));
  const attributes = [IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST].flatMap((type) => {
    const payload = given.get(type);
    return payload ? [bytes(type, payload)] : [];
  });
  const header = Buffer.from([message.body[0] ?? 0, found.prefixLength, found.flags & IFA_F_NODAD, scope, 0, 0, 0, 0]);
  if (typeof to === 'number') header.writeInt32LE(to, 4);
  return {
    type: RTM_NEWADDR,
    flags: create,
    header,
    headerSlots: typeof to === 'number' ? [] : [{ name: to.slot, at: 4 }],
    attributes,
  };
}

/** Adds a unicast route to the main table; without `destination` the default route. The gateway must be reachable on a link. */
export function newRoute(options: {
  gateway: Uint8Array;
  destination?: Prefix;
  index?: Filled;
  metric?: number;
}): Message {
  const header = Buffer.from([
    familyOf(options.gateway),
    options.destination?.length ?? 0,
    0,
    0,
    254,
    3,
    0,
    1,
    0,
    0,
    0,
    0,
  ]);
  const attributes: Attribute[] = [];
  if (options.destination) attributes.push(bytes(RTA_DST, options.destination.address));
  attributes.push(bytes(RTA_GATEWAY, options.gateway));
  if (options.index !== undefined) attributes.push(filled(RTA_OIF, options.index));
  if (options.metric !== undefined) attributes.push(u32(RTA_PRIORITY, options.metric));
  return { type: RTM_NEWROUTE, flags: create, header, attributes };
}

/** Every table's routes. `family` as in dumpAddresses. */
export function dumpRoutes(family = 0): Message {
  const header = Buffer.alloc(12);
  header.writeUInt8(family, 0);
  return { type: RTM_GETROUTE, flags: NLM_F_DUMP, header, attributes: [] };
}

export interface Route {
  readonly destination: Prefix;
  readonly gateway: string;
  readonly source: string;
  /** 0 for routes over several links. */
  readonly index: number;
  readonly table: number;
  /** rtm_protocol: 2 kernel, 3 boot, 4 static, 9 router advertisement, 16 dhcp. */
  readonly protocol: number;
  /** rtm_type: 1 unicast, 2 local, 3 broadcast, 5 multicast … */
  readonly type: number;
}

export function decodeRoute(message: DecodedMessage): Route | undefined {
  if (message.type !== RTM_NEWROUTE) return undefined;
  const view = headerOf(message, 12);
  const attributes = decodeAttributes(message.body.subarray(12));
  const addressText = (type: number): string => {
    const address = attributes.get(type);
    return address ? formatIp(address) : '';
  };
  const zero = new Uint8Array(view.getUint8(0) === AF_INET6 ? 16 : 4);
  return {
    destination: { address: attributes.get(RTA_DST) ?? zero, length: view.getUint8(1) },
    gateway: addressText(RTA_GATEWAY),
    source: addressText(RTA_PREFSRC),
    index: numberOf(attributes.get(RTA_OIF)) ?? 0,
    table: numberOf(attributes.get(RTA_TABLE)) ?? view.getUint8(4),
    protocol: view.getUint8(5),
    type: view.getUint8(7),
  };
}
