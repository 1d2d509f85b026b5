import { randomBytes } from 'node:crypto';
import { KeelsonError, isKeelsonError } from '../ground/errors.ts';
import type { Context } from '../ground/context.ts';
import { parseIp } from '../kernel/ip-address.ts';
import type { Keel } from '../kernel/keel.ts';
import { decodeMessages, encodeBatch, type Batch } from '../kernel/netlink.ts';
import { deleteLink, interfaceName, NETLINK_ROUTE } from '../kernel/netlink-route.ts';
import {
  decodeElements,
  deleteTable,
  dumpElements,
  encodeTransaction,
  NETLINK_NETFILTER,
  type Table,
} from '../kernel/nftables.ts';
import type { Keep, Plan, Reg } from '../kernel/plan.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import { AddressLeases, type Pools } from '../store/network.ts';
import type { Database } from '../store/database.ts';
import {
  canForward6,
  configureContainer,
  connect,
  enableForwarding,
  ensureBridge,
  ensureRules,
} from './bridge-steps.ts';
import { readHostNetwork, type HostNetwork } from './host-network.ts';
import { openNetlink, sendBatch, setNetSysctl } from './netlink-steps.ts';
import { addressesOf, choosePools, hostRange } from './pool.ts';
import { PublishSteps } from './publish-steps.ts';
import { installRules, keelsonTable, mapNames, removeElements, rulesKey } from './ruleset.ts';
import type { Addresses, PortSpec } from './types.ts';

export interface BridgeOptions {
  /** `keelson0` where absent. */
  readonly bridge?: string;
  /** An IPv4 network such as 10.77.0.0/16; chosen where absent. Of no effect while the bridge exists. */
  readonly pool?: string;
  /** Of the links; the kernel's 1500 where absent. */
  readonly mtu?: number;
}

const F_GETFD = 1;

/** Tag of the `report` with which a plan tells the ports that were chosen for it. */
export const boundPortsTag = 0x706f;

/** A container's place in the network from `attach` on, to be built into its plan: once. */
export interface Attachment {
  readonly addresses: Addresses;
  /** The link's end on the host. */
  readonly link: string;
  /** In the executor: runs in the host's network namespace; `pid` has a network namespace of its own. */
  host(b: PlanBuilder, pid: Reg): { relays: Keep['relays'] };
  /** In the container's process, after `host` is done. */
  container(b: PlanBuilder): void;
  /** In the keeper, when the process is gone. */
  teardown(b: PlanBuilder): void;
  /**
   * What is published, address by address. `registers` is what the plan reported with `boundPortsTag`; it does so only when ports
   * were to be chosen. Call it after `host`.
   */
  boundPorts(registers?: readonly bigint[]): readonly PortSpec[];
}

/**
 * The default network: a bridge of the host, addresses out of a private pool, published ports. Any number of processes may
 * use it at once, with the same data root or others.
 */
export class BridgeNetwork {
  readonly bridge: string;
  readonly #leases: AddressLeases;
  readonly #options: BridgeOptions;
  readonly #table: Table;

  constructor(db: Database, options: BridgeOptions = {}) {
    this.bridge = interfaceName(options.bridge ?? 'keelson0');
    this.#options = options;
    this.#leases = new AddressLeases(db, this.bridge);
    this.#table = this.bridge === 'keelson0' ? keelsonTable : { family: 'inet', name: `keelson-${this.bridge}` };
  }

  /**
   * Gives the container an address, a new one each time. Release it when the container has ended, or could not be started. Throws `exhausted` when
   * no address is left, `invalid-argument` for ports it can't publish.
   */
  attach(container: string, ports: readonly PortSpec[] = []): Attachment {
    const host = readHostNetwork();
    const { addresses, pools } = this.#takeAddress(container, host);
    const publish = new PublishSteps(
      ports,
      { addresses, hostIpv6: host.ipv6, forwards6: pools.pool6 !== '' && canForward6(host) },
      this.#table,
    );
    const key = rulesKey(this.bridge, pools, this.#table);
    const rules = this.#rules(key, pools);
    const link = `veth${randomBytes(5).toString('hex')}`;
    const { bridge } = this;
    let nf: Reg | undefined;
    return {
      addresses,
      link,
      host: (b, pid) => {
        b.group('network');
        publish.reserve(b);
        enableForwarding(b, host, pools.pool6 !== '');
        const rt = openNetlink(b.doing('opening a netlink socket'), NETLINK_ROUTE);
        const index = ensureBridge(b, rt, bridge, pools, addresses);
        nf = openNetlink(b.doing('opening a netlink socket'), NETLINK_NETFILTER);
        ensureRules(b, nf, this.#table, key, rules);
        publish.forward(b, nf);
        // Only while somebody can use it, and only once the rule that keeps containers from abusing it is in force.
        if (publish.reachesLoopback) setNetSysctl(b, `ipv4/conf/${bridge}/route_localnet`, '1');
        const { mtu } = this.#options;
        const { mac } = addresses;
        connect(b, rt, { link, bridge: index, pid, mac, hairpin: ports.length > 0, ...(mtu !== undefined && { mtu }) });
        b.sys('close', [rt]);
        if (publish.chosen.length > 0) b.report(boundPortsTag, publish.chosen, []);
        return { relays: publish.relays() };
      },
      container: (b) => configureContainer(b, addresses),
      teardown: (b) => {
        b.group('network').doing('withdrawing published ports');
        publish.withdraw(b);
        // Named here, the socket stays open as long as the keeper. The kernel lets whoever closes one wait until all that was removed
        // from any table just before is out of use (nft_rcv_nl_event), some 10 ms: neither the start nor the end is to take that long.
        if (nf) b.sys('fcntl', [nf, F_GETFD, 0]);
      },
      boundPorts: (registers = []) => publish.bound(registers),
    };
  }

  /** The addresses it would get, without taking one: for `explain`. */
  preview(): Addresses {
    const pools = choosePools(this.bridge, readHostNetwork(), this.#leases.pools(), this.#options);
    return addressesOf(pools, hostRange(pools).first);
  }

  /** Gives the address back. Nothing happens when it has none. */
  release(container: string): void {
    this.#leases.release(container);
  }

  /** Containers that hold addresses. */
  holders(): string[] {
    return this.#leases.list().map(({ container }) => container);
  }

  /**
   * For containers that ended without their keeper tidying up (it was killed), or that failed to start half way: removes
   * forwardings to their addresses, then releases these. The links went with the network namespaces, the sockets with the processes.
   */
  async reclaim(context: Context, keel: Keel, arch: Plan['arch'], containers: readonly string[]): Promise<void> {
    const leases = containers.flatMap((container) => this.#leases.of(container) ?? []);
    if (leases.length > 0) {
      const pool6 = this.#leases.pools()?.pool6 ?? '';
      const stale = new Set<string>();
      for (const { pool, host } of leases) {
        const { ip, ip6 } = addressesOf({ pool, pool6 }, host);
        for (const address of ip6 === '' ? [ip] : [ip, ip6]) stale.add(Buffer.from(parseIp(address)).toString('hex'));
      }
      await this.#removeForwardings(context, keel, arch, stale);
    }
    for (const { container } of leases) this.release(container);
  }

  /** Removes the bridge and the table, for uninstalling. Throws `conflict` while a container has an address. */
  async destroy(context: Context, keel: Keel, arch: Plan['arch']): Promise<void> {
    const holders = this.holders();
    if (holders.length > 0) {
      throw new KeelsonError('conflict', `the network ${this.bridge} is in use by ${holders.length} containers`);
    }
    const b = new PlanBuilder(arch).group('network').doing(`removing the network ${this.bridge}`);
    const rt = openNetlink(b, NETLINK_ROUTE);
    sendBatch(b, rt, encodeBatch([deleteLink({ name: this.bridge })]), `dellink ${this.bridge}`, {
      on: { ENODEV: 'continue' },
    });
    const nf = openNetlink(b, NETLINK_NETFILTER);
    sendBatch(b, nf, encodeTransaction([deleteTable(this.#table)]), `deltable ${this.#table.name}`, {
      on: { ENOENT: 'continue' },
    });
    await keel.run(b.build(), {}, context);
  }

  /** Encoding the rules takes a fresh process some 10 ms, reading them 0.1 ms. */
  #rules(key: string, pools: Pools): Batch {
    const bytes = this.#leases.derived(key, () => installRules(this.bridge, pools, this.#table).bytes);
    return { bytes, acks: 1, slots: [] };
  }

  #takeAddress(container: string, host: HostNetwork): { addresses: Addresses; pools: Pools } {
    const lease = this.#leases.take(container, hostRange, (recorded) =>
      choosePools(this.bridge, host, recorded, this.#options),
    );
    return { addresses: addressesOf(lease, lease.host), pools: { pool: lease.pool, pool6: lease.pool6 } };
  }

  /** `targets`: addresses in hexadecimal. */
  async #removeForwardings(
    context: Context,
    keel: Keel,
    arch: Plan['arch'],
    targets: ReadonlySet<string>,
  ): Promise<void> {
    const found = await this.#forwardings(context, keel, arch);
    const stale = found.filter(({ target }) => targets.has(target));
    // Far below what one message can hold.
    for (let at = 0; at < stale.length; at += 400) {
      const b = new PlanBuilder(arch).group('network').doing('removing stale port forwardings');
      const nf = openNetlink(b, NETLINK_NETFILTER);
      const batch = removeElements(stale.slice(at, at + 400), this.#table);
      // ENOENT: another process has been faster.
      sendBatch(b, nf, batch, `delelement ${stale.length}`, { on: { ENOENT: 'continue' } });
      await keel.run(b.build(), {}, context);
    }
  }

  /** Every element of the maps: its key, and the address it leads to. */
  async #forwardings(
    context: Context,
    keel: Keel,
    arch: Plan['arch'],
  ): Promise<{ map: string; key: Uint8Array; target: string }[]> {
    const size = 1 << 20;
    const b = new PlanBuilder(arch).group('network').doing('listing port forwardings');
    const nf = openNetlink(b, NETLINK_NETFILTER);
    const lists = mapNames.map((map) => {
      const at = b.blob(size);
      const dump = encodeBatch([dumpElements(this.#table, map)]);
      const used = sendBatch(b, nf, dump, `getelements ${map}`, { answer: { at, size }, on: { ENOENT: 'continue' } });
      return { map, at, used };
    });
    b.report(
      0,
      lists.map(({ used }) => used),
      lists.map(({ at }) => at),
    );
    const found: { map: string; key: Uint8Array; target: string }[] = [];
    const onReport = (message: { registers: readonly bigint[]; blobs: readonly Buffer[] }): void => {
      for (const [i, { map }] of lists.entries()) {
        const answer =
          message.blobs[i]?.subarray(0, Math.max(0, Number(message.registers[i] ?? 0n))) ?? new Uint8Array();
        const elements = decodeMessages(answer).flatMap((one) => decodeElements(one)?.elements ?? []);
        for (const { key, data } of elements) {
          const target = Buffer.from(data?.subarray(0, map.startsWith('publish4') ? 4 : 16) ?? []).toString('hex');
          found.push({ map, key, target });
        }
      }
    };
    await keel.run(b.build(), { onReport }, context);
    return found;
  }
}

/** Turns a plan's failure to take a port into docker's words; other errors are returned as they are. */
export function publishError(error: unknown): unknown {
  if (!isKeelsonError(error)) return error;
  const endpoint = /^binding host port (\S+): /.exec(error.message)?.[1];
  if (endpoint === undefined) return error;
  const options = { cause: error, details: error.details };
  switch (error.details.errno) {
    case 'EADDRINUSE':
      return new KeelsonError('conflict', `Bind for ${endpoint} failed: port is already allocated`, options);
    case 'EADDRNOTAVAIL':
      return new KeelsonError(
        'invalid-argument',
        `failed to bind host port ${endpoint}: cannot assign requested address`,
        options,
      );
    default:
      return error;
  }
}
