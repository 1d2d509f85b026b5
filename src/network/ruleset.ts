/**
 * Keelson's own nftables table. Nothing else on the host is touched, and nothing in here answers for the host's other tables: a
 * packet that they drop stays dropped, wherever this table accepts it (nft(8): `accept` ends one base chain, `drop` all).
 *
 * What it does, for the bridge `keelson0` and its address pools:
 * - guard: a container can't reach the host's loopback addresses, though the bridge lets replies go there (route_localnet).
 * - publish: published ports are looked up in maps, by (address, protocol, port) or, for every address, by (protocol, port), for
 *   packets to an address of the host. Loopback addresses only count for the host's own processes: in `prerouting`, a packet to
 *   127.0.0.1 can only come from a neighbour who is trying it on (as in moby 45610). [::1] is left alone: Linux refuses to route
 *   replies back to it, so the keeper's relay listens there.
 * - forward: containers may go anywhere; others reach them only through published ports and in answer to them. That closes the way to
 *   unpublished ports for neighbours who route through this host.
 * - postrouting: what leaves the pool leaves with the host's address; so does what a container sends to a published port of the same
 *   network (else the reply would go past the translation), and what the host's processes send from 127.0.0.1.
 */
import { crc32 } from 'node:zlib';
import { parsePrefix } from '../kernel/ip-address.ts';
import type { Batch } from '../kernel/netlink.ts';
import {
  addElements,
  deleteElements,
  deleteRules,
  encodeTransaction,
  flushSet,
  newChain,
  newRule,
  newSet,
  newTable,
  placeholder,
  priorities,
  type BaseChain,
  type Part,
  type SetElement,
  type SetSpec,
  type Table,
} from '../kernel/nftables.ts';
import {
  addressOffset,
  ctState,
  ctStatus,
  lookupMap,
  masquerade,
  meta,
  nat,
  payload,
  verdict,
  whenAddress,
  whenAddressType,
  whenCt,
  whenFamily,
  whenInterface,
  type Expression,
} from '../kernel/nftables-expressions.ts';
import type { Pools } from '../store/network.ts';

export const keelsonTable: Table = { family: 'inet', name: 'keelson' };

/** One way in: packets to this address (absent: to any of the host's) and port go to the container. */
export interface Forwarding {
  readonly hostIp?: Uint8Array;
  /** A name: the slot that is filled with the port (two bytes in network order) before sending. */
  readonly hostPort: number | { readonly slot: string };
  readonly protocol: 'tcp' | 'udp';
  /** Of the same family as `hostIp`. */
  readonly containerIp: Uint8Array;
  readonly containerPort: number;
}

const protocolNumbers = { tcp: 6, udp: 17 } as const;
const loopback = parsePrefix('127.0.0.0/8');

const maps: readonly (SetSpec & { readonly family: 'ip' | 'ip6'; readonly any: boolean })[] = [
  {
    name: 'publish4',
    family: 'ip',
    any: false,
    key: ['ipv4_addr', 'inet_proto', 'inet_service'],
    data: ['ipv4_addr', 'inet_service'],
  },
  {
    name: 'publish4_any',
    family: 'ip',
    any: true,
    key: ['inet_proto', 'inet_service'],
    data: ['ipv4_addr', 'inet_service'],
  },
  {
    name: 'publish6',
    family: 'ip6',
    any: false,
    key: ['ipv6_addr', 'inet_proto', 'inet_service'],
    data: ['ipv6_addr', 'inet_service'],
  },
  {
    name: 'publish6_any',
    family: 'ip6',
    any: true,
    key: ['inet_proto', 'inet_service'],
    data: ['ipv6_addr', 'inet_service'],
  },
];
export const mapNames: readonly string[] = maps.map((map) => map.name);
/** Holds one element: which rules are in force. */
const revisionSet: SetSpec = { name: 'revision', key: ['mark'] };

interface ChainSpec {
  readonly name: string;
  readonly base?: BaseChain;
  readonly rules: readonly (readonly Expression[])[];
}

function chains(bridge: string, { pool, pool6 }: Pools): ChainSpec[] {
  const pools = [pool, pool6].filter((prefix) => prefix !== '').map(parsePrefix);
  const into = whenInterface('oifname', '==', bridge);
  const from = whenInterface('iifname', '==', bridge);
  const out = whenInterface('oifname', '!=', bridge);
  const toHost = [...whenAddressType('daddr', 'local'), verdict({ goto: 'publish' })];
  const base = (type: 'filter' | 'nat', hook: BaseChain['hook'], priority: number): BaseChain => ({
    type,
    hook,
    priority,
    policy: 'accept',
  });
  return [
    {
      name: 'guard',
      base: base('filter', 'prerouting', priorities.raw),
      rules: [[...from, ...whenAddress('daddr', loopback), verdict('drop')]],
    },
    { name: 'publish', rules: maps.map(translation) },
    {
      name: 'prerouting',
      base: base('nat', 'prerouting', priorities.dstnat),
      rules: [[...whenAddress('daddr', loopback), verdict('return')], toHost],
    },
    {
      name: 'output',
      base: base('nat', 'output', priorities.dstnat),
      rules: [[...whenAddress('daddr', parsePrefix('::1/128')), verdict('return')], toHost],
    },
    {
      name: 'forward',
      base: base('filter', 'forward', priorities.filter),
      rules: [
        [...into, ...whenCt('state', ctState.established | ctState.related), verdict('accept')],
        [...from, verdict('accept')],
        [...into, ...whenCt('status', ctStatus.dnat), verdict('accept')],
        [...into, verdict('drop')],
      ],
    },
    {
      name: 'postrouting',
      base: base('nat', 'postrouting', priorities.srcnat),
      rules: [
        ...pools.map((prefix) => [...out, ...whenAddress('saddr', prefix), masquerade()]),
        [...into, ...whenAddress('saddr', loopback), masquerade()],
        ...pools.map((prefix) => [
          ...into,
          ...whenAddress('saddr', prefix),
          ...whenCt('status', ctStatus.dnat),
          masquerade(),
        ]),
      ],
    },
  ];
}

/** `dnat ip to ip daddr . meta l4proto . th dport map @publish4`: the key in neighbouring words, the answer in words 0 and on. */
function translation({ name, family, any }: (typeof maps)[number]): Expression[] {
  const size = family === 'ip' ? 4 : 16;
  const after = any ? 0 : size / 4;
  return [
    ...whenFamily(family),
    ...(any ? [] : [payload('network', addressOffset(family, 'daddr'), size, 0)]),
    meta('l4proto', after),
    payload('transport', 2, 2, after + 1),
    lookupMap(name, { to: 0 }),
    nat({ type: 'dnat', family, address: 0, port: size / 4 }),
  ];
}

/** Counts up with every change of what `installRules` sends; a test holds the two together. */
const rulesVersion = 2;

/** Names the rules for this bridge and these pools. */
export function rulesKey(bridge: string, { pool, pool6 }: Pools, table: Table = keelsonTable): string {
  return `${rulesVersion} ${table.family} ${table.name} ${bridge} ${pool} ${pool6}`;
}

/** The element that is in the set `revision` exactly when the rules of this name are in force. */
export function revision(key: string): { readonly set: string; readonly element: SetElement } {
  const digest = Buffer.alloc(4);
  digest.writeUInt32LE(crc32(key));
  return { set: revisionSet.name, element: { key: [{ value: new Uint8Array(digest) }] } };
}

/** Makes the table, or brings an older one up to date, leaving the ports that it knows alone. */
export function installRules(bridge: string, pools: Pools, table: Table = keelsonTable): Batch {
  const specs = chains(bridge, pools);
  const { element } = revision(rulesKey(bridge, pools, table));
  return encodeTransaction([
    newTable(table),
    ...maps.map((map, i) => newSet(table, map, i + 1)),
    newSet(table, revisionSet, maps.length + 1),
    ...specs.map((chain) => newChain(table, chain.name, chain.base)),
    // Rules have no names: all go, in the same transaction, before they are written anew.
    deleteRules(table),
    ...specs.flatMap((chain) => chain.rules.map((rule) => newRule(table, chain.name, rule))),
    flushSet(table, revisionSet.name),
    addElements(table, revisionSet.name, [element]),
  ]);
}

const port = (number: number): Part => ({ value: Uint8Array.of(number >> 8, number & 0xff) });

function elementOf(forwarding: Forwarding): { map: string; element: SetElement } {
  const { hostIp, hostPort, containerIp } = forwarding;
  const family = containerIp.length === 4 ? '4' : '6';
  const key: Part[] = [
    ...(hostIp ? [{ value: hostIp }] : []),
    { value: Uint8Array.of(protocolNumbers[forwarding.protocol]) },
    typeof hostPort === 'number' ? port(hostPort) : placeholder(hostPort.slot, 2),
  ];
  const data = [{ value: containerIp }, port(forwarding.containerPort)];
  return { map: hostIp ? `publish${family}` : `publish${family}_any`, element: { key, data } };
}

/** So many elements stay far below what a message's list, an attribute, can hold. */
const elementsPerMessage = 400;

function byMap(forwardings: readonly Forwarding[]): { map: string; list: SetElement[] }[] {
  const messages: { map: string; list: SetElement[] }[] = [];
  for (const { map, element } of forwardings.map(elementOf)) {
    const open = messages.find((message) => message.map === map && message.list.length < elementsPerMessage);
    if (open) open.list.push(element);
    else messages.push({ map, list: [element] });
  }
  return messages;
}

/** EEXIST when one of the ports leads elsewhere, ENOENT without the table. At least one has to be given. */
export function publish(forwardings: readonly Forwarding[], table: Table = keelsonTable): Batch {
  return encodeTransaction(byMap(forwardings).map(({ map, list }) => addElements(table, map, list)));
}

/** ENOENT when one of them isn't there; the others are not taken away then. */
export function unpublish(forwardings: readonly Forwarding[], table: Table = keelsonTable): Batch {
  return encodeTransaction(byMap(forwardings).map(({ map, list }) => deleteElements(table, map, list)));
}

/** Removes elements by their keys as the kernel gave them. */
export function removeElements(
  elements: readonly { readonly map: string; readonly key: Uint8Array }[],
  table: Table = keelsonTable,
): Batch {
  return encodeTransaction(elements.map(({ map, key }) => deleteElements(table, map, [{ key: [{ value: key }] }])));
}
