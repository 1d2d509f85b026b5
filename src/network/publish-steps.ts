/**
 * Published ports as operations of a plan. Every port is first taken by a socket of the host, which the keeper holds as long as the
 * container runs: whoever wants it meanwhile, another container or any program, is told that it is in use. The kernel forwards
 * packets to it by the rules of ruleset.ts. What those don't reach, TCP to [::1] above all, comes to the socket itself and is relayed by the
 * keeper; and so is everything while somebody has flushed the rules.
 */
import { KeelsonError } from '../ground/errors.ts';
import { forgetConnections } from '../kernel/conntrack.ts';
import { SOCK_CLOEXEC, SOCK_STREAM } from '../kernel/constants.ts';
import { AF_INET, AF_INET6, familyOf, formatIp, parseIp, tryParseIp } from '../kernel/ip-address.ts';
import { encodeBatch, type Batch } from '../kernel/netlink.ts';
import type { Table } from '../kernel/nftables.ts';
import type { BlobRef, Keep, Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import { batchBlob, fillSlots } from '../runtime/netlink-steps.ts';
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
const maxCandidates = 256;

type Family = typeof AF_INET | typeof AF_INET6;

/** Where a port is published. */
interface Place {
  /** undefined: on all addresses of the host. */
  readonly address: Uint8Array | undefined;
  /** Of these families. */
  readonly families: readonly Family[];
}

/** One PortSpec in the making. */
interface Publication {
  readonly spec: PortSpec & Place;
  readonly fd: Reg;
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
  readonly #specs: readonly (PortSpec & Place)[];
  readonly #backend: Backend;
  readonly #table: Table;
  #publications: readonly Publication[] = [];
  #undo: { nf: Reg; batch: Batch; at: BlobRef } | undefined;

  /** Throws `unsupported` for an address that can't be served. */
  constructor(specs: readonly PortSpec[], backend: Backend, table: Table) {
    this.#backend = backend;
    this.#table = table;
    this.#specs = specs.map((spec) => ({ ...spec, ...this.#place(spec) }));
  }

  /** Registers with chosen ports, in the order in which `bound` wants them. */
  get chosen(): readonly Reg[] {
    return this.#publications.flatMap(({ port }) => (typeof port === 'number' ? [] : [port]));
  }

  /** Takes the ports; EADDRINUSE when one is in use. */
  reserve(b: PlanBuilder): void {
    this.#publications = this.#specs.map((spec) => this.#take(b, spec));
  }

  /**
   * Listening sockets and where they lead. Of a wildcard that is the container's IPv4 address, whoever calls: there are more
   * programs that don't listen on IPv6 than such that listen on nothing else.
   */
  relays(): Keep['relays'] {
    const { ip, ip6 } = this.#backend.addresses;
    return this.#publications
      .filter(({ spec }) => spec.protocol === 'tcp')
      .map(({ spec, fd }) => {
        const target = spec.address?.length === 16 && ip6 !== '' ? ip6 : ip;
        return { listen: fd, to: socketAddress(parseIp(target), spec.containerPort) };
      })
      .slice(0, maxRelays);
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
    for (const { fd } of this.#publications) b.sys('close', [fd]);
  }

  /** True when a published port is to be reached by way of 127.0.0.0/8. */
  get reachesLoopback(): boolean {
    return this.#publications.some(
      ({ spec: { address, families } }) => families.includes(AF_INET) && (address === undefined || address[0] === 127),
    );
  }

  /** What is published, address by address; `registers` are the contents of `chosen`. */
  bound(registers: readonly bigint[]): PortSpec[] {
    let next = 0;
    return this.#publications.flatMap(({ spec, port }) => {
      const hostPort = typeof port === 'number' ? port : hostOrder(Number(registers[next++] ?? 0n));
      const { address, families, containerPort, protocol } = spec;
      return families.map((family) => ({ hostIp: nameOf(address, family), hostPort, containerPort, protocol }));
    });
  }

  #take(b: PlanBuilder, spec: PortSpec & Place): Publication {
    const fd = b.reg(`${spec.protocol}_port`);
    const last = spec.hostPortEnd ?? spec.hostPort;
    if (spec.hostPort !== 0 && last <= spec.hostPort) {
      takePort(b, { spec, fd }, spec.hostPort);
      return { spec, fd, port: spec.hostPort };
    }
    const port = b.reg('port');
    if (spec.hostPort === 0) takeAny(b, { spec, fd }, port);
    else takeFirst(b, { spec, fd }, port, Math.min(last, spec.hostPort + maxCandidates - 1));
    return { spec, fd, port };
  }

  /** UDP is not relayed, so IPv6 has to be forwarded for it. */
  #place({ hostIp, protocol, hostPort }: PortSpec): Place {
    const { hostIpv6, forwards6 } = this.#backend;
    const address = tryParseIp(hostIp);
    const serves6 = hostIpv6 && (protocol === 'tcp' || forwards6);
    if (!address) return { address, families: serves6 ? [AF_INET, AF_INET6] : [AF_INET] };
    if (address.length === 16 && !serves6) {
      throw new KeelsonError(
        'unsupported',
        `publishing [${hostIp}]:${hostPort}/${protocol}: ${hostIpv6 ? 'IPv6 is not forwarded on this host' : 'this host has no IPv6'}`,
      );
    }
    const wildcard = address.every((byte) => byte === 0);
    return { address: wildcard ? undefined : address, families: [familyOf(address)] };
  }

  #forwardings(): Forwarding[] {
    const { addresses, forwards6 } = this.#backend;
    return this.#publications.flatMap(({ spec, port }, i) =>
      spec.families.flatMap((family): Forwarding[] => {
        const containerIp = tryParseIp(family === AF_INET ? addresses.ip : addresses.ip6);
        if (!containerIp || (family === AF_INET6 && !forwards6)) return [];
        const hostPort = typeof port === 'number' ? port : { slot: `port${i}` };
        const { address, protocol, containerPort } = spec;
        return [{ ...(address && { hostIp: address }), hostPort, protocol, containerIp, containerPort }];
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
 * container that is gone. Forgotten, it is translated anew. Kernels before 6.12 can't, and clients have to pause for a while.
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
export function socketAddress(ip: Uint8Array, port: number): Uint8Array {
  const six = ip.length === 16;
  const address = Buffer.alloc(six ? 28 : 16);
  address.writeUInt16LE(six ? AF_INET6 : AF_INET, 0);
  address.writeUInt16BE(port, 2);
  address.set(ip, six ? 8 : 4);
  return address;
}

const hostOrder = (port: number): number => ((port & 0xff) << 8) | (port >> 8);

function nameOf(address: Uint8Array | undefined, family: Family): string {
  return address ? formatIp(address) : family === AF_INET ? '0.0.0.0' : '::';
}

type Socket = Omit<Publication, 'port'>;

/** How docker names an address in its messages. */
function endpoint({ spec: { address, families } }: Socket, port: number | string): string {
  const family = families[0] ?? AF_INET;
  return family === AF_INET ? `${nameOf(address, family)}:${port}` : `[${nameOf(address, family)}]:${port}`;
}

/** Begins what a failure to take a port says; see publishError. */
export const bindFailure = 'binding host port';

/** An unbound socket in the publication's register; of both families for a wildcard of both. Returns its address with `port`. */
function open(b: PlanBuilder, { spec, fd }: Socket, port: number): Uint8Array {
  const { address, families } = spec;
  const six = families.includes(AF_INET6);
  const type = spec.protocol === 'tcp' ? SOCK_STREAM : SOCK_DGRAM;
  b.sys('socket', [six ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0], { dst: fd });
  const flag = (on: boolean) => b.blob(Uint8Array.of(Number(on), 0, 0, 0), String(Number(on)));
  // Connections of an earlier server that still linger must not count; one that listens does.
  if (spec.protocol === 'tcp') b.sys('setsockopt', [fd, SOL_SOCKET, SO_REUSEADDR, flag(true), 4]);
  if (six) b.sys('setsockopt', [fd, IPPROTO_IPV6, IPV6_V6ONLY, flag(families.length === 1), 4]);
  return socketAddress(address ?? new Uint8Array(six ? 16 : 4), port);
}

/** Two sockets may be bound to a port as long as neither listens, so this can fail as well. */
function listen(b: PlanBuilder, { spec, fd }: Socket): void {
  if (spec.protocol === 'tcp') b.sys('listen', [fd, 128]);
}

function takePort(b: PlanBuilder, socket: Socket, port: number): void {
  const name = endpoint(socket, port);
  b.doing(`${bindFailure} ${name}`);
  const address = open(b, socket, port);
  b.sys('bind', [socket.fd, b.blob(address, name), address.length]);
  listen(b, socket);
}

/** The kernel chooses, out of net.ipv4.ip_local_port_range. */
function takeAny(b: PlanBuilder, socket: Socket, port: Reg): void {
  const name = endpoint(socket, 'any');
  b.doing(`${bindFailure} ${name}`);
  const address = open(b, socket, 0);
  b.sys('bind', [socket.fd, b.blob(address, name), address.length]);
  const answer = b.blob(28);
  b.sys('getsockname', [socket.fd, answer, b.blob(Uint8Array.of(28, 0, 0, 0), '28')]);
  b.set(port, b.peek({ ...answer, offset: 2 }, 2, 'chosen'));
  listen(b, socket);
}

/** The first free one from the spec's port to `last`. */
function takeFirst(b: PlanBuilder, socket: Socket, port: Reg, last: number): void {
  const { spec, fd } = socket;
  b.doing(`${bindFailure} ${endpoint(socket, `${spec.hostPort}-${spec.hostPortEnd ?? spec.hostPort}`)}`);
  const done = b.label();
  for (let candidate = spec.hostPort; candidate <= last; candidate++) {
    const busy = b.label();
    const address = open(b, socket, candidate);
    b.sys('bind', [fd, b.blob(address, endpoint(socket, candidate)), address.length], { on: { EADDRINUSE: busy } });
    if (spec.protocol === 'tcp') b.sys('listen', [fd, 128], { on: { EADDRINUSE: busy } });
    b.set(port, hostOrder(candidate));
    b.jump(done);
    b.place(busy);
    b.sys('close', [fd]);
  }
  b.fail('EADDRINUSE');
  b.place(done);
}
