import { randomBytes } from '../ground/crypto.ts';
import { KeelsonError, isKeelsonError } from '../ground/errors.ts';
import type { Context } from '../ground/context.ts';
import { parseIp } from '../kernel/ip-address.ts';
import type { Keel } from '../kernel/keel.ts';
import { encodeBatch, type Batch } from '../kernel/netlink.ts';
import { deleteLink, interfaceName, NETLINK_ROUTE } from '../kernel/netlink-route.ts';
import { deleteTable, encodeTransaction, NETLINK_NETFILTER, type Table } from '../kernel/nftables.ts';
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
import { removeForwardings } from './forwardings.ts';
import { readHostNetwork, type HostNetwork } from './host-network.ts';
import { openNetlink, sendBatch, setNetSysctl } from '../runtime/netlink-steps.ts';
import { addressesOf, choosePools, hostRange } from './pool.ts';
import { PublishSteps } from './publish-steps.ts';
import { installRules, keelsonTable, rulesKey } from './ruleset.ts';
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
   * no address is left, `unsupported` for ports that can't be published where they are to be.
   */
  attach(container: string, ports: readonly PortSpec[] = []): Attachment {
    const host = readHostNetwork();
    const {
      pool,
      pool6,
      host: number,
    } = this.#leases.take(container, hostRange, (recorded) => choosePools(this.bridge, host, recorded, this.#options));
    const pools = { pool, pool6 };
    try {
      return this.#attachment(host, pools, number, this.#rules(pools), ports);
    } catch (error) {
      this.release(container);
      throw error;
    }
  }

  /** What `attach` would give, as far as can be told without taking an address: for `explain`. */
  rehearse(ports: readonly PortSpec[] = []): Attachment {
    const host = readHostNetwork();
    const { pool, pool6 } = choosePools(this.bridge, host, this.#leases.pools(), this.#options);
    const pools = { pool, pool6 };
    const rules = installRules(this.bridge, pools, this.#table);
    return this.#attachment(host, pools, hostRange(pools).first, rules, ports);
  }

  #attachment(host: HostNetwork, pools: Pools, number: number, rules: Batch, ports: readonly PortSpec[]): Attachment {
    const addresses = addressesOf(pools, number);
    const publish = new PublishSteps(
      ports,
      { addresses, hostIpv6: host.ipv6, forwards6: pools.pool6 !== '' && canForward6(host) },
      this.#table,
    );
    const key = rulesKey(this.bridge, pools, this.#table);
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
        connect(b, rt, {
          ...{ link, bridgeName: bridge, bridge: index, pid, mac: addresses.mac, hairpin: ports.length > 0 },
          ...(mtu !== undefined && { mtu }),
        });
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
      const addresses = leases.flatMap(({ pool, host }) => {
        const { ip, ip6 } = addressesOf({ pool, pool6 }, host);
        return ip6 === '' ? [ip] : [ip, ip6];
      });
      await removeForwardings(context, keel, arch, this.#table, addresses.map(parseIp));
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
  #rules(pools: Pools): Batch {
    const key = rulesKey(this.bridge, pools, this.#table);
    const bytes = this.#leases.derived(key, () => installRules(this.bridge, pools, this.#table).bytes);
    return { bytes, acks: 1, slots: [] };
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
