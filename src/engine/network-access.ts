import { readFileSync } from 'node:fs';
import type { Context } from '../ground/context.ts';
import type { Keel } from '../kernel/keel.ts';
import type { Plan } from '../kernel/plan.ts';
import type { BridgeNetwork } from '../network/bridge-network.ts';
import { configureLoopback } from '../network/bridge-steps.ts';
import type { Attached, NetworkAccess } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import type { ContainerConfig, ContainerNetwork, PortSpec } from './types.ts';

type Subject = Pick<ContainerRecord, 'id' | 'name' | 'spec'>;

const none = { ip: '', prefixLength: 0, gateway: '', ip6: '', prefixLength6: 0, gateway6: '', mac: '', ports: [] };

/** The network modes of a container: `bridge`, `none`, `host`, `container:ID`. */
export class NetworkModes implements NetworkAccess {
  readonly #bridge: BridgeNetwork;
  readonly #keel: Keel;
  readonly #arch: Plan['arch'];

  constructor(bridge: BridgeNetwork, keel: Keel, arch: Plan['arch']) {
    this.#bridge = bridge;
    this.#keel = keel;
    this.#arch = arch;
  }

  attach(record: Subject): Attached {
    const { config } = record.spec;
    const mode = config.network ?? 'bridge';
    if (mode !== 'bridge') return this.preview(record);
    const attachment = this.#bridge.attach(record.id, publishedPorts(config));
    return {
      steps: attachment,
      network: (bound) => ({ mode, ...attachment.addresses, ports: attachment.boundPorts(bound) }),
      ...files(record, attachment.addresses),
    };
  }

  preview(record: Subject): Attached {
    const mode = record.spec.config.network ?? 'bridge';
    const network: ContainerNetwork =
      mode === 'bridge' ? { mode, ...none, ...this.#bridge.preview() } : { mode, ...none };
    return {
      steps: mode === 'none' ? { container: configureLoopback } : {},
      network: () => network,
      ...files(record, network),
    };
  }

  release(id: string): void {
    this.#bridge.release(id);
  }

  async cleanUp(context: Context, id: string): Promise<void> {
    if (this.#bridge.holders().includes(id)) await this.#bridge.reclaim(context, this.#keel, this.#arch, [id]);
  }
}

/** What `-p` names, and with `-P` every exposed port that it doesn't. */
export function publishedPorts(config: ContainerConfig): readonly PortSpec[] {
  const own = config.ports ?? [];
  if (!config.publishAll) return own;
  const named = new Set(own.map((p) => `${p.containerPort}/${p.protocol}`));
  const rest = (config.exposedPorts ?? []).filter((p) => !named.has(`${p.port}/${p.protocol}`));
  return [...own, ...rest.map(({ port, protocol }) => ({ hostIp: '', hostPort: 0, containerPort: port, protocol }))];
}

function files(
  record: Subject,
  _network: Pick<ContainerNetwork, 'ip' | 'ip6'>,
): Pick<Attached, 'hosts' | 'resolvConf'> {
  void record;
  return { hosts: '127.0.0.1\tlocalhost\n', resolvConf: readFileSync('/etc/resolv.conf', 'utf8') };
}
