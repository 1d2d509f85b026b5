/**
 * Published ports as operations of a plan. Every port is first taken by a socket of the host, which the keeper holds as long as the
 * container runs: whoever wants it meanwhile, another container or any program, is told that it is in use. The kernel forwards
 * packets to it by the rules of ruleset.ts. What those don't reach, TCP to [::1] above all, comes to the socket itself and is relayed by the
 * keeper; and so is everything while somebody has flushed the rules.
 */
import { forgetConnections } from '../kernel/conntrack.ts';
import { SOCK_CLOEXEC, SOCK_STREAM } from '../kernel/constants.ts';
import { AF_INET, AF_INET6, familyOf, formatIp, tryParseIp } from '../kernel/ip-address.ts';
import { encodeBatch, type Batch } from '../kernel/netlink.ts';
import type { Table } from '../kernel/nftables.ts';
import type { BlobRef, Keep, Label, Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import { batchBlob, fillSlots } from './netlink-steps.ts';
import { publish, unpublish, type Forwarding } from './ruleset.ts';
import type { Addresses, PortSpec } from './types.ts';

const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const IPPROTO_UDP = 17;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
/** So many listening sockets a keeper can serve (native/keep.h). The others only hold their port. */
const maxRelays = 64;
/** So many ports of a range are tried for a single container port. */
const maxCandidates = 64;

/** A port on one address of the host. */
interface Binding {
  /** undefined: all addresses of the family. */
  readonly hostIp: Uint8Array | undefined;
  readonly family: typeof AF_INET | typeof AF_INET6;
  readonly fd: Reg;
}

/** One PortSpec in the making. */
interface Publication {
  readonly spec: PortSpec;
  readonly bindings: readonly Binding[];
  /** The port, or the register that holds it in network order. */
  readonly port: number | Reg;
}

/** Where the container is reached, and whether the kernel forwards IPv6 to it. */
export interface Backend {
  readonly addresses: Addresses;
  /** False: no IPv6 on the host; nothing is bound there. */
  readonly hostIpv6: boolean;
  readonly forwards6: boolean;
}

export class PublishSteps {
  readonly #specs: readonly PortSpec[];
  readonly #backend: Backend;
  readonly #table: Table;
  #publications: readonly Publication[] = [];
  #undo: { nf: Reg; batch: Batch; at: BlobRef } | undefined;

  constructor(specs: readonly PortSpec[], backend: Backend, table: Table) {
    this.#specs = specs;
    this.#backend = backend;
    this.#table = table;
  }

  /** Registers with chosen ports, in the order in which `bound` wants them. */
  get chosen(): readonly Reg[] {
    return this.#publications.flatMap(({ port }) => (typeof port === 'number' ? [] : [port]));
  }

  /** Takes the ports; EADDRINUSE when one is in use. */
  reserve(b: PlanBuilder): void {
    this.#publications = this.#specs.map((spec) => this.#take(b, spec));
  }

  /** Listening sockets and where they lead. IPv6 comes first: there are addresses that nothing else serves. */
  relays(): Keep['relays'] {
    const { ip, ip6 } = this.#backend.addresses;
    const relays = this.#publications.flatMap(({ spec, bindings }) => {
      if (spec.protocol !== 'tcp') return [];
      return bindings.map(({ family, fd }) => {
        const target = family === AF_INET6 && ip6 !== '' ? ip6 : ip;
        return { family, relay: { listen: fd, to: socketAddress(tryParseIp(target), spec.containerPort) } };
      });
    });
    return relays
      .sort((a, b) => b.family - a.family)
      .slice(0, maxRelays)
      .map(({ relay }) => relay);
  }

  /** Adds the forwarding rules. Call when the table is there. `nf` stays open for `withdraw`. */
  forward(b: PlanBuilder, nf: Reg): void {
    const forwardings = this.#forwardings();
    if (forwardings.length === 0) return;
    const ports = this.#fill();
    b.doing('publishing ports');
    const undo = unpublish(forwardings, this.#table);
    this.#undo = { nf, batch: undo, at: batchBlob(b, undo, `delelement ${describe(forwardings)}`) };
    fillSlots(b, this.#undo.at, undo, ports, 2);
    const add = publish(forwardings, this.#table);
    const at = batchBlob(b, add, `newelement ${describe(forwardings)}`);
    fillSlots(b, at, add, ports, 2);
    const [stale, done] = [b.label(), b.label()];
    b.netlink(nf, at, add.bytes.length, add.acks, { on: { EEXIST: stale, EBUSY: stale } });
    b.jump(done);
    // The port is ours, so what else the map says of it was left by a keeper that was killed.
    b.place(stale);
    for (const one of forwardings) {
      const remove = unpublish([one], this.#table);
      const old = batchBlob(b, remove, `delelement ${describe([one])}`);
      const slot = typeof one.hostPort === 'number' ? undefined : one.hostPort.slot;
      const value = slot === undefined ? undefined : ports[slot];
      if (slot !== undefined && value !== undefined) fillSlots(b, old, remove, { [slot]: value }, 2);
      b.netlink(nf, old, remove.bytes.length, remove.acks, { on: { ENOENT: 'continue' } });
    }
    b.netlink(nf, at, add.bytes.length, add.acks);
    b.place(done);
    forget(b, nf, forwardings, ports);
  }

  /** In the keeper, when the container is gone: the rules first, then the sockets. */
  withdraw(b: PlanBuilder): void {
    if (this.#undo) {
      const { nf, at, batch } = this.#undo;
      // ENOENT: somebody has flushed the rules.
      b.netlink(nf, at, batch.bytes.length, batch.acks, { on: { ENOENT: 'continue' } });
    }
    // The keeper lives on for a moment, and the container may be started again at once.
    for (const { bindings } of this.#publications) for (const { fd } of bindings) b.sys('close', [fd]);
  }

  /** True when a published port is to be reached by way of 127.0.0.0/8. */
  get reachesLoopback(): boolean {
    return this.#publications.some(({ bindings }) =>
      bindings.some(({ family, hostIp }) => family === AF_INET && (hostIp === undefined || hostIp[0] === 127)),
    );
  }

  /** What is published, address by address; `registers` are the contents of `chosen`. */
  bound(registers: readonly bigint[]): PortSpec[] {
    let next = 0;
    return this.#publications.flatMap(({ spec, bindings, port }) => {
      const hostPort = typeof port === 'number' ? port : hostOrder(Number(registers[next++] ?? 0n));
      return bindings.map(({ family, hostIp }) => ({
        hostIp: hostIp ? formatIp(hostIp) : family === AF_INET ? '0.0.0.0' : '::',
        hostPort,
        containerPort: spec.containerPort,
        protocol: spec.protocol,
      }));
    });
  }

  #take(b: PlanBuilder, spec: PortSpec): Publication {
    const targets = this.#targets(spec);
    const fds = targets.map((target) => b.reg(`${spec.protocol}${target.family === AF_INET ? '4' : '6'}`));
    const bindings = targets.map((target, i) => ({ ...target, fd: fds[i] as Reg }));
    const last = spec.hostPortEnd ?? spec.hostPort;
    if (spec.hostPort !== 0 && last <= spec.hostPort) {
      for (const binding of bindings) bind(b, spec, binding, socketAddressOf(binding, spec.hostPort));
      listen(b, spec, bindings);
      return { spec, bindings, port: spec.hostPort };
    }
    const port = b.reg('port');
    if (spec.hostPort === 0) takeAny(b, spec, bindings, port);
    else takeFirst(b, spec, bindings, port, Math.min(last, spec.hostPort + maxCandidates - 1));
    listen(b, spec, bindings);
    return { spec, bindings, port };
  }

  /** UDP is not relayed, so IPv6 has to be forwarded for it. */
  #targets({ hostIp, protocol }: PortSpec): Omit<Binding, 'fd'>[] {
    const { hostIpv6, forwards6, addresses } = this.#backend;
    const address = tryParseIp(hostIp);
    const wildcard = address === undefined || address.every((byte) => byte === 0);
    const ip = wildcard ? undefined : address;
    if (address) return [{ hostIp: ip, family: address.length === 4 ? AF_INET : AF_INET6 }];
    const six = hostIpv6 && (protocol === 'tcp' || (forwards6 && addresses.ip6 !== ''));
    const families = six ? ([AF_INET, AF_INET6] as const) : ([AF_INET] as const);
    return families.map((family) => ({ hostIp: undefined, family }));
  }

  #forwardings(): Forwarding[] {
    const { addresses, forwards6 } = this.#backend;
    return this.#publications.flatMap(({ spec, bindings, port }, i) =>
      bindings.flatMap(({ family, hostIp }): Forwarding[] => {
        const containerIp = tryParseIp(family === AF_INET ? addresses.ip : addresses.ip6);
        if (!containerIp || (family === AF_INET6 && !forwards6)) return [];
        const hostPort = typeof port === 'number' ? port : { slot: `port${i}` };
        const { protocol, containerPort } = spec;
        return [{ ...(hostIp && { hostIp }), hostPort, protocol, containerIp, containerPort }];
      }),
    );
  }

  #fill(): Record<string, Reg> {
    const forwarded = new Set(
      this.#forwardings().map(({ hostPort }) => (typeof hostPort === 'number' ? '' : hostPort.slot)),
    );
    return Object.fromEntries(
      this.#publications.flatMap(({ port }, i) =>
        typeof port === 'number' || !forwarded.has(`port${i}`) ? [] : [[`port${i}`, port]],
      ),
    );
  }
}

/**
 * A UDP client that goes on asking from one port is one connection, which keeps the translation it began with: none, or the one to a
 * container that is gone. Forgotten, it is translated anew. Older kernels can't, and clients have to pause for 30 s.
 */
function forget(b: PlanBuilder, nf: Reg, forwardings: readonly Forwarding[], ports: Record<string, Reg>): void {
  const udp = forwardings.filter(({ protocol }) => protocol === 'udp');
  if (udp.length === 0) return;
  b.doing('forgetting connections to published UDP ports');
  const batch = encodeBatch(
    udp.map(({ containerIp, hostPort }) => forgetConnections(familyOf(containerIp), IPPROTO_UDP, hostPort)),
  );
  const at = batchBlob(b, batch, `delconntrack ${describe(udp)}`);
  const used = Object.entries(ports).filter(([name]) => batch.slots.some((slot) => slot.name === name));
  fillSlots(b, at, batch, Object.fromEntries(used), 2);
  b.netlink(nf, at, batch.bytes.length, batch.acks, { on: { any: 'continue' } });
}

function describe(forwardings: readonly Forwarding[]): string {
  const text = ({ hostIp, hostPort, protocol, containerIp, containerPort }: Forwarding): string => {
    const from = hostIp ? formatIp(hostIp) : containerIp.length === 4 ? '0.0.0.0' : '::';
    const port = typeof hostPort === 'number' ? hostPort : '?';
    return `${protocol} ${from} ${port} : ${formatIp(containerIp)} ${containerPort}`;
  };
  return forwardings.length > 4 ? `${forwardings.length} forwardings` : forwardings.map(text).join(', ');
}

/** struct sockaddr_in or sockaddr_in6. */
export function socketAddress(ip: Uint8Array | undefined, port: number): Uint8Array {
  const six = ip?.length === 16;
  const address = Buffer.alloc(six ? 28 : 16);
  address.writeUInt16LE(six ? AF_INET6 : AF_INET, 0);
  address.writeUInt16BE(port, 2);
  if (ip) address.set(ip, six ? 8 : 4);
  return address;
}

function socketAddressOf({ family, hostIp }: Omit<Binding, 'fd'>, port: number): Uint8Array {
  return socketAddress(hostIp ?? new Uint8Array(family === AF_INET ? 4 : 16), port);
}

/** How docker names an address in its messages. */
function endpoint({ family, hostIp }: Omit<Binding, 'fd'>, port: string): string {
  const ip = hostIp ? formatIp(hostIp) : family === AF_INET ? '0.0.0.0' : '::';
  return family === AF_INET ? `${ip}:${port}` : `[${ip}]:${port}`;
}

const hostOrder = (port: number): number => ((port & 0xff) << 8) | (port >> 8);

/** An unbound socket in the binding's register. */
function open(b: PlanBuilder, spec: PortSpec, { family, fd }: Binding): void {
  const type = spec.protocol === 'tcp' ? SOCK_STREAM : SOCK_DGRAM;
  b.sys('socket', [family, type | SOCK_CLOEXEC, 0], { dst: fd });
  const one = b.blob(Uint8Array.of(1, 0, 0, 0), '1');
  // Connections of an earlier server that still linger must not count; one that listens does.
  if (spec.protocol === 'tcp') b.sys('setsockopt', [fd, SOL_SOCKET, SO_REUSEADDR, one, 4]);
  if (family === AF_INET6) b.sys('setsockopt', [fd, IPPROTO_IPV6, IPV6_V6ONLY, one, 4]);
}

function bind(b: PlanBuilder, spec: PortSpec, binding: Binding, address: Uint8Array): void {
  const name = endpoint(binding, String(spec.hostPort));
  b.doing(`${bindFailure} ${name}`);
  open(b, spec, binding);
  b.sys('bind', [binding.fd, b.blob(address, name), address.length]);
}

/** Begins what such a failure says; see bindError. */
export const bindFailure = 'binding host port';

function listen(b: PlanBuilder, spec: PortSpec, bindings: readonly Binding[]): void {
  if (spec.protocol !== 'tcp') return;
  // Two sockets may be bound to a port as long as neither listens, so this can fail as well.
  for (const { fd } of bindings) b.sys('listen', [fd, 128]);
}

/** The kernel chooses, out of net.ipv4.ip_local_port_range; again when the other family doesn't have the same port to give. */
function takeAny(b: PlanBuilder, spec: PortSpec, bindings: readonly Binding[], port: Reg): void {
  const [first, ...others] = bindings;
  if (!first) return;
  const again = b.label();
  const address = socketAddressOf(first, 0);
  b.place(again);
  b.doing(`${bindFailure} ${endpoint(first, 'any')}`);
  open(b, spec, first);
  b.sys('bind', [first.fd, b.blob(address, endpoint(first, 'any')), address.length]);
  const answer = b.blob(28);
  b.sys('getsockname', [first.fd, answer, b.blob(Uint8Array.of(28, 0, 0, 0), '28')]);
  b.set(port, b.peek({ ...answer, offset: 2 }, 2, 'chosen'));
  bindOthers(b, spec, bindings, others, port, again);
}

/** The first port of the range that all addresses have free. */
function takeFirst(b: PlanBuilder, spec: PortSpec, bindings: readonly Binding[], port: Reg, last: number): void {
  const [first, ...others] = bindings;
  if (!first) return;
  const done = b.label();
  for (let candidate = spec.hostPort; candidate <= last; candidate++) {
    const next = b.label();
    const address = socketAddressOf(first, candidate);
    const name = endpoint(first, `${spec.hostPort}-${spec.hostPortEnd ?? spec.hostPort}`);
    b.doing(`${bindFailure} ${name}`);
    open(b, spec, first);
    const busy = b.label();
    b.sys('bind', [first.fd, b.blob(address, endpoint(first, String(candidate))), address.length], {
      on: { EADDRINUSE: busy },
    });
    b.set(port, hostOrder(candidate));
    bindOthers(b, spec, bindings, others, port, next);
    b.jump(done);
    b.place(busy);
    b.sys('close', [first.fd]);
    b.place(next);
  }
  b.fail('EADDRINUSE');
  b.place(done);
}

/** Binds the other sockets to the port in `port`; closes all and goes to `retry` when one can't have it. */
function bindOthers(
  b: PlanBuilder,
  spec: PortSpec,
  bindings: readonly Binding[],
  others: readonly Binding[],
  port: Reg,
  retry: Label,
): void {
  const done = b.label();
  for (const [i, other] of others.entries()) {
    const busy = b.label();
    const go = b.label();
    const address = socketAddressOf(other, 0);
    const at = b.blob(address, endpoint(other, '?'));
    open(b, spec, other);
    b.poke({ ...at, offset: 2 }, 2, port);
    b.sys('bind', [other.fd, at, address.length], { on: { EADDRINUSE: busy } });
    b.jump(go);
    b.place(busy);
    for (const opened of bindings.slice(0, i + 2)) b.sys('close', [opened.fd]);
    b.jump(retry);
    b.place(go);
  }
  b.place(done);
}
