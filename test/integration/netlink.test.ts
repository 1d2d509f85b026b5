import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, describe, test } from 'node:test';
import { isKeelsonError } from '../../src/ground/errors.ts';
import { formatPrefix, parseIp, parsePrefix } from '../../src/kernel/ip-address.ts';
import { Keel } from '../../src/kernel/keel.ts';
import {
  decodeMessages,
  encodeBatch,
  type Batch,
  type DecodedMessage,
  type Message,
} from '../../src/kernel/netlink.ts';
import {
  decodeAddress,
  decodeLink,
  decodeRoute,
  deleteAddress,
  deleteLink,
  dumpAddresses,
  dumpLinks,
  dumpRoutes,
  getLink,
  NETLINK_ROUTE,
  newAddress,
  newBridge,
  newRoute,
  newVeth,
  setHairpin,
  setLink,
} from '../../src/kernel/netlink-route.ts';
import {
  addElements,
  decodeElements,
  decodeSet,
  decodeTable,
  deleteChain,
  deleteElements,
  deleteSet,
  deleteTable,
  dumpElements,
  dumpSets,
  dumpTables,
  encodeTransaction,
  NETLINK_NETFILTER,
  newChain,
  newRule,
  newSet,
  newTable,
  priorities,
  type DataType,
} from '../../src/kernel/nftables.ts';
import {
  compare,
  counter,
  immediate,
  lookup,
  lookupMap,
  meta,
  nat,
  notrack,
  payload,
  verdict,
  whenAddress,
  whenFamily,
} from '../../src/kernel/nftables-expressions.ts';
import { PlanBuilder } from '../../src/kernel/plan-builder.ts';
import { hostArch } from '../../src/kernel/syscalls.ts';
import { openNetlink, sendBatch } from '../../src/runtime/netlink-steps.ts';

const isRoot = process.getuid?.() === 0;
const keel = Keel.spawn();
after(() => keel.close());

/** Sends a batch and returns the messages that came back, acknowledgements apart. */
async function send(protocol: number, batch: Batch): Promise<DecodedMessage[]> {
  const size = 1 << 18;
  const b = new PlanBuilder(hostArch()).group('test').doing('testing netlink');
  const at = b.blob(size);
  const used = sendBatch(b, openNetlink(b, protocol), batch, 'test', { answer: { at, size } });
  b.report(0, [used], [at]);
  let answer: DecodedMessage[] = [];
  await keel.run(b.build(), {
    onReport: ({ registers, blobs }) => {
      answer = decodeMessages(blobs[0]?.subarray(0, Number(registers[0])) ?? new Uint8Array());
    },
  });
  return answer;
}

const route = (...messages: Message[]): Promise<DecodedMessage[]> => send(NETLINK_ROUTE, encodeBatch(messages));
const change = (...messages: Message[]): Promise<DecodedMessage[]> =>
  send(NETLINK_NETFILTER, encodeTransaction(messages));
const ask = (message: Message): Promise<DecodedMessage[]> => send(NETLINK_NETFILTER, encodeBatch([message]));

const run = (command: string, ...args: string[]): string => execFileSync(command, args, { encoding: 'utf8' });
const ipJson = <T>(...args: string[]): T[] => JSON.parse(run('ip', '-j', '-d', ...args)) as T[];

interface IpLink {
  readonly ifindex: number;
  readonly ifname: string;
  readonly mtu: number;
  readonly address: string;
  readonly master?: string;
  readonly flags: readonly string[];
  readonly linkinfo?: { readonly info_kind?: string; readonly info_slave_data?: { readonly hairpin: boolean } };
  readonly inet6_addr_gen_mode?: string;
}

const refused = (errno: string) => (error: unknown) => isKeelsonError(error) && error.details.errno === errno;

describe('rtnetlink', { skip: isRoot ? false : 'needs root', concurrency: false }, () => {
  after(() => {
    for (const name of ['test-br', 'test-a', 'test-b', 'test-c']) {
      try {
        execFileSync('ip', ['link', 'delete', name], { stdio: 'ignore' });
      } catch {
        // It is gone already.
      }
    }
  });

  test('links are made, changed and deleted as ip(8) then shows', async () => {
    const mac = '02:42:00:00:00:09';
    await route(newBridge({ name: 'test-br', mac, up: true, forwardDelay: 200, multicastSnooping: false }));
    const [bridge] = ipJson<IpLink>('link', 'show', 'test-br');
    assert.equal(bridge?.linkinfo?.info_kind, 'bridge');
    assert.equal(bridge.address, mac);
    assert.ok(bridge.flags.includes('UP'));
    const peer = { name: 'test-b', mac: '02:42:00:00:00:0b', mtu: 1400 };
    await route(newVeth({ name: 'test-a', mtu: 1400, master: bridge.ifindex, up: true, peer }));
    await route(setHairpin({ name: 'test-a' }, true), setLink({ name: 'test-b' }, { noLinkLocal: true }));
    const [port] = ipJson<IpLink>('link', 'show', 'test-a');
    assert.equal(port?.master, 'test-br');
    assert.equal(port.mtu, 1400);
    assert.equal(port.linkinfo?.info_slave_data?.hairpin, true);
    const [end] = ipJson<IpLink>('link', 'show', 'test-b');
    assert.deepEqual([end?.address, end?.mtu, end?.inet6_addr_gen_mode], [peer.mac, 1400, 'none']);
    await route(setLink({ index: end?.ifindex ?? 0 }, { rename: 'test-c', mtu: 1300, up: true }));
    await route(setLink({ name: 'test-a' }, { master: 0, up: false }));
    const left = ipJson<IpLink>('link');
    assert.equal(left.find(({ ifname }) => ifname === 'test-c')?.mtu, 1300);
    assert.equal(left.find(({ ifname }) => ifname === 'test-a')?.master, undefined);
    await assert.rejects(route(newBridge({ name: 'test-br' })), refused('EEXIST'));
    await route(deleteLink({ name: 'test-a' }), deleteLink({ name: 'test-br' }));
    await assert.rejects(route(getLink({ name: 'test-c' })), refused('ENODEV'));
  });

  test('links, addresses and routes are read as ip(8) reads them', async () => {
    await route(
      newVeth({ name: 'test-a', up: true, peer: { name: 'test-b' } }),
      setLink({ name: 'test-b' }, { up: true }),
    );
    const [link] = ipJson<IpLink>('link', 'show', 'test-a');
    const index = link?.ifindex ?? 0;
    await route(
      newAddress(index, parseIp('192.0.2.1'), 24),
      newAddress(index, parseIp('2001:db8:7::1'), 64),
      newRoute({ destination: parsePrefix('198.51.100.0/24'), gateway: parseIp('192.0.2.9'), metric: 7 }),
      newRoute({ destination: parsePrefix('2001:db8:8::/48'), gateway: parseIp('2001:db8:7::9'), index }),
    );
    const links = (await route(dumpLinks())).flatMap((message) => decodeLink(message) ?? []);
    assert.deepEqual(
      links.map((one) => [one.index, one.name, one.mac, one.mtu, one.up]),
      ipJson<IpLink>('link').map((one) => [one.ifindex, one.ifname, one.address, one.mtu, one.flags.includes('UP')]),
    );
    assert.equal(links.find(({ name }) => name === 'test-a')?.kind, 'veth');
    const addresses = (await route(dumpAddresses())).flatMap((message) => decodeAddress(message) ?? []);
    const shown = ipJson<IpLink & { addr_info: { local: string; prefixlen: number }[] }>('address').flatMap((one) =>
      one.addr_info.map(({ local, prefixlen }) => `${one.ifindex} ${local}/${prefixlen}`),
    );
    assert.deepEqual(
      addresses.map((one) => `${one.index} ${one.address}/${one.prefixLength}`).sort(),
      [...shown].sort(),
    );
    const routes = (await route(dumpRoutes())).flatMap((message) => decodeRoute(message) ?? []);
    const main = routes.filter(({ table, type }) => table === 254 && type === 1);
    const text = main.map((one) => `${formatPrefix(one.destination)} ${one.gateway} ${one.index}`);
    assert.ok(text.includes(`198.51.100.0/24 192.0.2.9 ${index}`), text.join('; '));
    assert.ok(text.includes(`2001:db8:8::/48 2001:db8:7::9 ${index}`), text.join('; '));
    await route(deleteAddress(index, parseIp('192.0.2.1'), 24));
    assert.ok(!run('ip', 'address', 'show', 'test-a').includes('192.0.2.1'));
    await assert.rejects(route(deleteAddress(index, parseIp('192.0.2.1'), 24)), refused('EADDRNOTAVAIL'));
  });

  test('the kernel’s own words come with its errno', async () => {
    await assert.rejects(
      route(newRoute({ destination: parsePrefix('203.0.113.0/24'), gateway: parseIp('203.0.114.1') })),
      /ENETUNREACH.*Nexthop has invalid gateway/,
    );
  });
});

describe('nftables', { skip: isRoot ? false : 'needs root', concurrency: false }, () => {
  const table = { family: 'inet', name: 'test' } as const;
  after(() => {
    execFileSync('nft', ['delete', 'table', 'inet', 'test'], { stdio: 'ignore' });
  });

  test('tables, sets, maps and rules are as nft(8) then shows', async () => {
    const service: DataType[] = ['inet_service'];
    const port = (number: number) => [{ value: Uint8Array.of(number >> 8, number & 0xff) }];
    const http = Uint8Array.of(0, 80);
    await change(
      newTable(table),
      newSet(table, { name: 'doors', key: service }, 1),
      newSet(table, { name: 'ways', key: service, data: 'verdict' }, 2),
      newSet(table, { name: 'pairs', key: ['ipv4_addr', 'inet_service'], data: ['ipv4_addr'] }, 3),
      newChain(table, 'side'),
      newChain(table, 'empty'),
      newChain(table, 'in', { type: 'filter', hook: 'input', priority: priorities.filter, policy: 'drop' }),
      newChain(table, 'nat', { type: 'nat', hook: 'output', priority: priorities.dstnat, policy: 'accept' }),
      newRule(table, 'in', [
        meta('l4proto'),
        compare('==', Uint8Array.of(6)),
        payload('transport', 2, 2),
        lookup('doors'),
        counter(),
        verdict('accept'),
      ]),
      newRule(table, 'in', [
        meta('l4proto'),
        compare('==', Uint8Array.of(6)),
        payload('transport', 2, 2),
        lookupMap('ways', { to: 'verdict' }),
      ]),
      newRule(table, 'in', [...whenAddress('saddr', parsePrefix('192.0.2.128/25')), verdict({ jump: 'side' })]),
      newRule(table, 'side', [notrack(), verdict('return')]),
      newRule(table, 'nat', [
        ...whenFamily('ip'),
        meta('l4proto', 0),
        compare('==', Uint8Array.of(6)),
        immediate(parseIp('127.0.0.1'), 0),
        immediate(http, 1),
        nat({ type: 'dnat', family: 'ip', address: 0, port: 1 }),
      ]),
      addElements(table, 'doors', [{ key: port(22) }, { key: port(443) }]),
      addElements(table, 'ways', [
        { key: port(80), data: { goto: 'side' } },
        { key: port(81), data: 'drop' },
      ]),
      addElements(table, 'pairs', [
        { key: [{ value: parseIp('192.0.2.1') }, ...port(80)], data: [{ value: parseIp('10.0.0.1') }] },
      ]),
    );
    const shown = run('nft', 'list', 'table', 'inet', 'test').replace(/packets \d+ bytes \d+/, 'packets 0 bytes 0');
    for (const line of [
      'elements = { 22, 443 }',
      'elements = { 80 : goto side, 81 : drop }',
      'elements = { 192.0.2.1 . 80 : 10.0.0.1 }',
      'type filter hook input priority filter; policy drop;',
      'tcp dport @doors counter packets 0 bytes 0 accept',
      'tcp dport vmap @ways',
      'ip saddr 192.0.2.128/25 jump side',
      'notrack return',
      'meta l4proto tcp dnat ip to 127.0.0.1:80',
    ]) {
      assert.ok(shown.includes(`${line}\n`), `${line} is not in ${shown}`);
    }
    const tables = (await ask(dumpTables())).flatMap((message) => decodeTable(message) ?? []);
    assert.ok(tables.some(({ family, name }) => family === 'inet' && name === 'test'));
    const sets = (await ask(dumpSets())).flatMap((message) => decodeSet(message) ?? []);
    assert.deepEqual(
      sets.filter((set) => set.table === 'test').map(({ name }) => name),
      ['doors', 'ways', 'pairs'],
    );
    const elements = (await ask(dumpElements(table, 'pairs'))).flatMap((one) => decodeElements(one)?.elements ?? []);
    assert.deepEqual(
      elements.map(({ key, data }) => [[...key], [...(data ?? [])]]),
      [
        [
          [192, 0, 2, 1, 0, 80, 0, 0],
          [10, 0, 0, 1],
        ],
      ],
    );
    await change(
      deleteElements(table, 'doors', [{ key: port(22) }]),
      deleteChain(table, 'empty'),
      deleteSet(table, 'pairs'),
    );
    const less = run('nft', 'list', 'table', 'inet', 'test');
    assert.ok(less.includes('elements = { 443 }') && !less.includes('pairs') && !less.includes('empty'), less);
  });

  test('a transaction of which one change is refused changes nothing', async () => {
    const other = { family: 'inet', name: 'test-other' } as const;
    await assert.rejects(change(newTable(other), newRule(other, 'nowhere', [verdict('drop')])), refused('ENOENT'));
    assert.ok(!run('nft', 'list', 'tables').includes('test-other'));
    await assert.rejects(change(deleteTable(other)), refused('ENOENT'));
  });
});
