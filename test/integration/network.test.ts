import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '../../src/ground/context.ts';
import { isKeelsonError } from '../../src/ground/errors.ts';
import { kernelAtLeast, parseKernelRelease } from '../../src/kernel/facts.ts';
import { hostArch } from '../../src/kernel/syscalls.ts';
import { BridgeNetwork } from '../../src/network/bridge-network.ts';
import { examineNetwork } from '../../src/network/doctor.ts';
import { openStore } from '../../src/store/store.ts';
import { leakCheck } from '../support/leaks.ts';
import {
  hostAddress,
  hostAddress6,
  ip,
  makeLab,
  neighbourAddress,
  neighbourAddress6,
  nftObjects,
  type Lab,
} from './network-lab.ts';

const web = { hostIp: '', hostPort: 8080, containerPort: 80, protocol: 'tcp' } as const;
const dns = { ...web, protocol: 'udp' } as const;

/** Elements of keelson's maps of ports. */
function forwardings(): string[] {
  return nftObjects('table', 'inet', 'keelson').flatMap(({ map }) =>
    ((map?.['elem'] as unknown[] | undefined) ?? []).map((element) => JSON.stringify(element)),
  );
}

function sysctl(key: string, value?: string): string {
  if (value !== undefined) execFileSync('sysctl', ['-qw', `${key}=${value}`]);
  return readFileSync(`/proc/sys/${key.replaceAll('.', '/')}`, 'utf8').trim();
}

const isRoot = process.getuid?.() === 0;

describe('the bridge network', { skip: isRoot ? false : 'needs root', concurrency: false }, () => {
  let lab: Lab;
  let leaks: Awaited<ReturnType<typeof leakCheck>>;

  before(async () => {
    lab = await makeLab();
    // The bridge is made with the first container, and stays.
    await (await lab.start('first')).stop();
    leaks = await leakCheck({ root: '/nonexistent', run: '/nonexistent' });
  });
  after(async () => {
    try {
      await leaks.verify();
      await lab.network.destroy(new Context(), lab.keel, hostArch());
      assert.ok(!ip('link').includes('keelson0'));
      assert.ok(!nftObjects().some(({ table }) => table?.['name'] === 'keelson'));
    } finally {
      await lab[Symbol.asyncDispose]();
    }
  });

  test('gives a container what ip(8) then shows', async () => {
    await using container = await lab.start('c1');
    const { addresses, link } = container.attachment;
    const inside = (...args: string[]) =>
      JSON.parse(
        execFileSync('nsenter', ['-t', String(container.pid), '-n', 'ip', '-j', ...args], { encoding: 'utf8' }),
      );
    const [lo, eth0] = inside('address') as {
      ifname: string;
      flags: string[];
      address: string;
      addr_info: { local: string; prefixlen: number; broadcast?: string }[];
    }[];
    assert.ok(lo?.flags.includes('UP'));
    assert.equal(eth0?.ifname, 'eth0');
    assert.equal(eth0.address, addresses.mac);
    const own = eth0.addr_info.filter(({ local }) => !local.startsWith('fe80'));
    assert.deepEqual(
      own.map(({ local, prefixlen }) => [local, prefixlen]),
      [
        [addresses.ip, 16],
        [addresses.ip6, 64],
      ],
    );
    const routes = [...inside('route'), ...inside('-6', 'route')] as { dst: string; gateway?: string }[];
    assert.deepEqual(
      routes.filter(({ dst }) => dst === 'default').map(({ gateway }) => gateway),
      [addresses.gateway, addresses.gateway6],
    );
    const [port] = JSON.parse(ip('-j', '-d', 'link', 'show', link)) as { master: string; operstate: string }[];
    assert.equal(port?.master, 'keelson0');
    assert.equal(port.operstate, 'UP');
  });

  test('containers reach each other, the host, and what is beyond it with the host’s address', async () => {
    await using one = await lab.start('one');
    await using two = await lab.start('two');
    for (const [to, from] of [
      [two.attachment.addresses.ip, one.attachment.addresses.ip],
      [two.attachment.addresses.ip6, one.attachment.addresses.ip6],
    ] as const) {
      assert.equal(await one.call('tcp', to, 80), `two sees ${from}`);
      assert.equal(await one.call('udp', to, 80), `two sees ${from}`);
    }
    for (const protocol of ['tcp', 'udp'] as const) {
      assert.equal(await one.call(protocol, neighbourAddress, 80), `neighbour sees ${hostAddress}`);
      assert.equal(await one.call(protocol, neighbourAddress6, 80), `neighbour sees ${hostAddress6}`);
      assert.equal(
        await lab.host.call(protocol, one.attachment.addresses.ip, 80),
        `one sees ${one.attachment.addresses.gateway}`,
      );
    }
  });

  test('a published port is reached from everywhere, over TCP and UDP, IPv4 and IPv6', async () => {
    await using container = await lab.start('c1', [web, dns]);
    await using other = await lab.start('c2');
    const { gateway, gateway6 } = container.attachment.addresses;
    for (const protocol of ['tcp', 'udp'] as const) {
      assert.equal(await lab.neighbour.call(protocol, hostAddress, 8080), `c1 sees ${neighbourAddress}`);
      assert.equal(await lab.neighbour.call(protocol, hostAddress6, 8080), `c1 sees ${neighbourAddress6}`);
      assert.equal(await lab.host.call(protocol, '127.0.0.1', 8080), `c1 sees ${gateway}`);
      assert.equal(await lab.host.call(protocol, hostAddress, 8080), `c1 sees ${hostAddress}`);
      assert.equal(await lab.host.call(protocol, hostAddress6, 8080), `c1 sees ${hostAddress6}`);
      // From a container of the same network, and from the container itself.
      for (const from of [other, container]) {
        assert.equal(await from.call(protocol, hostAddress, 8080), `c1 sees ${gateway}`, `${from.id} ${protocol}`);
        assert.equal(await from.call(protocol, hostAddress6, 8080), `c1 sees ${gateway6}`, `${from.id} ${protocol}`);
      }
    }
    // What Linux has no way to translate is relayed by the keeper.
    assert.equal(await lab.host.call('tcp', '::1', 8080), `c1 sees ${gateway}`);
    await container.stop();
    assert.deepEqual(forwardings(), []);
    assert.equal(await lab.host.call('tcp', '127.0.0.1', 8080), 'ECONNREFUSED');
    assert.equal(await lab.neighbour.call('tcp', hostAddress, 8080), 'ECONNREFUSED');
  });

  test('also without br_netfilter', async (t) => {
    const keys = ['net.bridge.bridge-nf-call-iptables', 'net.bridge.bridge-nf-call-ip6tables'];
    let old: string[];
    try {
      old = keys.map((key) => sysctl(key));
    } catch {
      return t.skip('this kernel has no br_netfilter');
    }
    t.after(() => keys.forEach((key, i) => sysctl(key, old[i])));
    for (const value of ['0', '1']) {
      for (const key of keys) sysctl(key, value);
      await using container = await lab.start('c1', [web]);
      const { gateway, gateway6 } = container.attachment.addresses;
      assert.equal(await container.call('tcp', hostAddress, 8080), `c1 sees ${gateway}`);
      assert.equal(await container.call('tcp', hostAddress6, 8080), `c1 sees ${gateway6}`);
    }
  });

  test('a UDP client that goes on calling from one port finds each new container', async (t) => {
    if (!kernelAtLeast(parseKernelRelease(release()), 6, 12)) return t.skip('needs Linux 6.12');
    const calls = () =>
      Promise.all([hostAddress, hostAddress6].map(async (to) => lab.neighbour.call('udp', to, 8080, 40_000)));
    await calls();
    for (const name of ['c1', 'c2']) {
      await using _container = await lab.start(name, [dns]);
      assert.deepEqual(await calls(), [`${name} sees ${neighbourAddress}`, `${name} sees ${neighbourAddress6}`]);
    }
  });

  test('a port of one address is published there alone', async () => {
    await using container = await lab.start('c1', [
      { ...web, hostIp: '127.0.0.1' },
      { ...web, hostIp: hostAddress, hostPort: 8081 },
      { ...web, hostIp: hostAddress6, hostPort: 8082 },
    ]);
    const { gateway } = container.attachment.addresses;
    assert.equal(await lab.host.call('tcp', '127.0.0.1', 8080), `c1 sees ${gateway}`);
    assert.equal(await lab.host.call('tcp', hostAddress, 8080), 'ECONNREFUSED');
    assert.equal(await lab.neighbour.call('tcp', hostAddress, 8080), 'ECONNREFUSED');
    assert.equal(await lab.neighbour.call('tcp', hostAddress, 8081), `c1 sees ${neighbourAddress}`);
    assert.equal(await lab.host.call('tcp', '127.0.0.1', 8081), 'ECONNREFUSED');
    assert.equal(await lab.neighbour.call('tcp', hostAddress6, 8082), `c1 sees ${neighbourAddress6}`);
    assert.deepEqual(
      container.ports.map(({ hostIp, hostPort }) => `${hostIp} ${hostPort}`),
      ['127.0.0.1 8080', `${hostAddress} 8081`, `${hostAddress6} 8082`],
    );
  });

  test('neighbours who route through the host reach published ports only, and never its loopback', async (t) => {
    await using container = await lab.start('c1', [{ ...web, hostIp: '127.0.0.1' }]);
    const { ip: address } = container.attachment.addresses;
    const neighbour = (...args: string[]): string => ip('-n', 'neighbour', ...args);
    neighbour('route', 'add', '10.77.0.0/16', 'via', hostAddress);
    t.after(() => neighbour('route', 'delete', '10.77.0.0/16'));
    assert.equal(await lab.neighbour.call('tcp', address, 80), 'ETIMEDOUT');
    // 127.0.0.1 as a destination on the wire: moby 45610.
    const inNeighbour = (key: string, value: string) =>
      execFileSync('ip', ['netns', 'exec', 'neighbour', 'sysctl', '-qw', `${key}=${value}`]);
    neighbour('address', 'delete', '127.0.0.1/8', 'dev', 'lo');
    inNeighbour('net.ipv4.conf.all.route_localnet', '1');
    neighbour('route', 'add', '127.0.0.1/32', 'via', hostAddress, 'src', neighbourAddress);
    t.after(() => {
      neighbour('route', 'delete', '127.0.0.1/32');
      inNeighbour('net.ipv4.conf.all.route_localnet', '0');
      neighbour('address', 'add', '127.0.0.1/8', 'dev', 'lo');
    });
    assert.equal(await lab.neighbour.call('tcp', '127.0.0.1', 8080), 'ETIMEDOUT');
  });

  test('containers don’t reach the host’s loopback addresses', async () => {
    await using container = await lab.start('c1', [web]);
    const inside = (...command: string[]) =>
      execFileSync('nsenter', ['-t', String(container.pid), '-n', ...command], { encoding: 'utf8' });
    assert.equal(sysctl('net.ipv4.conf.keelson0.route_localnet'), '1');
    inside('ip', 'address', 'delete', '127.0.0.1/8', 'dev', 'lo');
    inside('sysctl', '-qw', 'net.ipv4.conf.all.route_localnet=1');
    const { ip: own, gateway } = container.attachment.addresses;
    inside('ip', 'route', 'add', '127.0.0.1/32', 'via', gateway, 'src', own);
    const { createServer } = await import('node:net');
    const secret = createServer((socket) => socket.end('secret')).listen(7777, '127.0.0.1');
    await once(secret, 'listening');
    try {
      assert.equal(await lab.host.call('tcp', '127.0.0.1', 7777), 'secret');
      assert.equal(await container.call('tcp', '127.0.0.1', 7777), 'ETIMEDOUT');
    } finally {
      secret.close();
    }
  });

  test('a port in use is refused in docker’s words, by whomever it is used, and nothing is left behind', async () => {
    const refused = (endpoint: string) => (error: unknown) =>
      isKeelsonError(error, 'conflict') && error.message === `Bind for ${endpoint} failed: port is already allocated`;
    await using container = await lab.start('c1', [web, dns]);
    await assert.rejects(lab.start('c2', [web]), refused('0.0.0.0:8080'));
    await assert.rejects(lab.start('c2', [dns]), refused('0.0.0.0:8080'));
    await assert.rejects(lab.start('c2', [{ ...web, hostIp: '127.0.0.1' }]), refused('127.0.0.1:8080'));
    await assert.rejects(lab.start('c2', [{ ...web, hostIp: '::' }]), refused('[::]:8080'));
    const elements = forwardings().length;
    const { createServer } = await import('node:net');
    const server = createServer().listen(8090, '0.0.0.0');
    await once(server, 'listening');
    await assert.rejects(
      lab.start('c2', [
        { ...web, hostPort: 8089 },
        { ...web, hostPort: 8090 },
      ]),
      refused('0.0.0.0:8090'),
    );
    assert.equal(forwardings().length, elements);
    server.close();
    // And the other way round: the host's programs are told as well.
    const taken = createServer().listen(8080, '127.0.0.1');
    const [error] = (await new Promise((resolve) => taken.once('error', (e) => resolve([e])))) as [
      NodeJS.ErrnoException,
    ];
    assert.equal(error.code, 'EADDRINUSE');
    assert.ok(container.ports.length > 0);
    assert.deepEqual(lab.network.holders(), ['c1']);
    await assert.rejects(
      lab.start('c2', [{ ...web, hostIp: '203.0.113.77', hostPort: 80 }]),
      /failed to bind host port 203.0.113.77:80: cannot assign requested address/,
    );
  });

  test('ports are chosen: any, or the first that is free in a range', async () => {
    const range = { ...web, hostPort: 8000, hostPortEnd: 8002 };
    await using one = await lab.start('one', [range, { ...web, hostPort: 0 }, { ...dns, hostPort: 0 }]);
    await using two = await lab.start('two', [range]);
    const portsOf = (ports: readonly { hostPort: number }[]) => ports.map(({ hostPort }) => hostPort);
    const [first, second, any, any6, udp, udp6] = portsOf(one.ports);
    assert.deepEqual([first, second], [8000, 8000]);
    assert.deepEqual(portsOf(two.ports), [8001, 8001]);
    assert.equal(any, any6);
    assert.equal(udp, udp6);
    const [low = 0, high = 0] = sysctl('net.ipv4.ip_local_port_range').split(/\s+/).map(Number);
    assert.ok(any !== undefined && any >= low && any <= high, `${any} in ${low}-${high}`);
    assert.ok(udp !== undefined);
    assert.equal(await lab.neighbour.call('tcp', hostAddress, any), `one sees ${neighbourAddress}`);
    assert.equal(await lab.neighbour.call('udp', hostAddress6, udp), `one sees ${neighbourAddress6}`);
    assert.equal(await lab.neighbour.call('tcp', hostAddress, 8001), `two sees ${neighbourAddress}`);
    await using _three = await lab.start('three', [range]);
    await assert.rejects(lab.start('four', [range]), /Bind for 0.0.0.0:8000-8002 failed: port is already allocated/);
  });

  test('published TCP ports outlive a flush of the host’s rules, and the next container brings the rules back', async () => {
    await using container = await lab.start('c1', [web]);
    execFileSync('nft', ['flush', 'ruleset']);
    const { gateway } = container.attachment.addresses;
    assert.equal(await lab.neighbour.call('tcp', hostAddress, 8080), `c1 sees ${gateway}`);
    assert.equal(await lab.host.call('tcp', '127.0.0.1', 8080), `c1 sees ${gateway}`);
    await using _other = await lab.start('c2', [{ ...web, hostPort: 8081 }]);
    assert.equal(await lab.neighbour.call('tcp', hostAddress, 8081), `c2 sees ${neighbourAddress}`);
  });

  test('the host’s own firewall stays in force; the doctor tells, and its advice helps', async (t) => {
    const chain = '{ type filter hook forward priority filter; policy drop; }';
    execFileSync('nft', ['-f', '-'], { input: `table inet mine {\nchain passing ${chain}\n}\n` });
    t.after(() => execFileSync('nft', ['delete', 'table', 'inet', 'mine']));
    await using container = await lab.start('c1', [web]);
    assert.equal(await lab.neighbour.call('tcp', hostAddress, 8080), 'ETIMEDOUT');
    assert.equal(await container.call('tcp', neighbourAddress, 80), 'ETIMEDOUT');
    const findings = await examineNetwork(new Context(), lab.keel, hostArch(), 'keelson0');
    const warnings = findings.filter(({ status }) => status !== 'ok');
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]?.detail ?? '', /^the chain inet mine passing drops/);
    execFileSync('sh', ['-c', warnings[0]?.advice ?? 'false']);
    assert.equal(await lab.neighbour.call('tcp', hostAddress, 8080), `c1 sees ${neighbourAddress}`);
    assert.equal(await container.call('tcp', neighbourAddress, 80), `neighbour sees ${hostAddress}`);
  });

  test('nft(8) shows the table as docs/network.md has it', async () => {
    await using container = await lab.start('c1', [web]);
    const { ip: address, gateway6 } = container.attachment.addresses;
    const shown = execFileSync('nft', ['list', 'table', 'inet', 'keelson'], { encoding: 'utf8' })
      .replaceAll(gateway6.replace(/1$/, ''), 'fd00:1::')
      .replaceAll(/fd00:1::[0-9a-f]+ \./g, 'fd00:1::2 .')
      .replaceAll(address, '10.77.0.2')
      .replace(/0x[0-9a-f]{8}/, '0x…');
    const text = readFileSync(join(import.meta.dirname, '../../docs/network.md'), 'utf8');
    const block = /```nft\n([^]*?)```/.exec(text)?.[1];
    assert.equal(shown.replaceAll('\t', '    '), block);
  });

  test('a keeper that is killed leaves forwardings that the next user of the port replaces, and reclaiming removes the rest', async () => {
    const killed = await lab.start('c1', [web, dns]);
    await killed.kill();
    assert.equal(forwardings().length, 4);
    await using next = await lab.start('c2', [web]);
    assert.equal(await lab.neighbour.call('tcp', hostAddress, 8080), `c2 sees ${neighbourAddress}`);
    assert.deepEqual(lab.network.holders().sort(), ['c1', 'c2']);
    await lab.network.reclaim(new Context(), lab.keel, hostArch(), ['c1', 'unknown']);
    assert.deepEqual(lab.network.holders(), ['c2']);
    const left = forwardings();
    assert.equal(left.length, 2);
    const { ip: address, ip6 } = next.attachment.addresses;
    assert.ok(
      left.some((element) => element.includes(`"${address}"`)) && left.some((element) => element.includes(ip6)),
    );
    assert.equal(await lab.neighbour.call('tcp', hostAddress, 8080), `c2 sees ${neighbourAddress}`);
  });

  test('two processes with data roots of their own share the bridge without using an address twice', async () => {
    await using one = await lab.start('one');
    using db = openStore({ root: mkdtempSync(join(tmpdir(), 'keelson-net-')) });
    const other = new BridgeNetwork(db);
    const { addresses } = other.attach('two');
    assert.equal(addresses.gateway, one.attachment.addresses.gateway);
    assert.equal(addresses.gateway6, one.attachment.addresses.gateway6);
    assert.notEqual(addresses.ip, one.attachment.addresses.ip);
    rmSync(dirname(db.path), { recursive: true });
  });

  test('containers that start at once on a host without the bridge make it together', async () => {
    await lab.network.destroy(new Context(), lab.keel, hostArch());
    const names = ['a', 'b', 'c', 'd', 'e', 'f'];
    const made = await Promise.all(names.map((name, i) => lab.start(name, [{ ...web, hostPort: 8100 + i }])));
    try {
      assert.equal(new Set(made.map(({ attachment }) => attachment.addresses.ip)).size, names.length);
      for (const [i, { id }] of made.entries()) {
        assert.equal(await lab.neighbour.call('tcp', hostAddress, 8100 + i), `${id} sees ${neighbourAddress}`);
      }
    } finally {
      await Promise.all(made.map((container) => container.stop()));
    }
    assert.deepEqual(forwardings(), []);
  });

  test('a bridge whose maker was killed half way is finished by the next', async () => {
    await lab.network.destroy(new Context(), lab.keel, hostArch());
    ip('link', 'add', 'keelson0', 'type', 'bridge');
    await using container = await lab.start('c1', [web]);
    assert.equal(await lab.neighbour.call('tcp', hostAddress, 8080), `c1 sees ${neighbourAddress}`);
    assert.equal(await lab.host.call('tcp', '::1', 8080), `c1 sees ${container.attachment.addresses.gateway}`);
  });

  test('the network can’t be removed while somebody has an address', async () => {
    await using _container = await lab.start('c1');
    await assert.rejects(
      lab.network.destroy(new Context(), lab.keel, hostArch()),
      (error) => isKeelsonError(error, 'conflict') && /keelson0 is in use by 1 containers/.test(error.message),
    );
  });

  test('an ordinary plan’s failure half way leaves no forwarding and no link', async () => {
    const links = () => (JSON.parse(ip('-j', 'link')) as { ifname: string }[]).map(({ ifname }) => ifname);
    const known = new Set(links());
    const twice = { ...web, hostPort: 8085 };
    await assert.rejects(lab.start('c1', [twice, twice]), /Bind for 0.0.0.0:8085 failed: port is already allocated/);
    await sleep(100);
    assert.deepEqual(
      links().filter((name) => !known.has(name)),
      [],
    );
    assert.deepEqual(forwardings(), []);
  });
});
