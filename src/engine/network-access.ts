import { KeelsonError } from '../ground/errors.ts';
import { readFileSync } from 'node:fs';
import type { Context } from '../ground/context.ts';
import type { Keel } from '../kernel/keel.ts';
import type { Plan } from '../kernel/plan.ts';
import type { Attachment, BridgeNetwork } from '../network/bridge-network.ts';
import { configureLoopback } from '../network/bridge-steps.ts';
import { hostsFile } from '../network/hosts-file.ts';
import { hostResolvConf, resolvConf } from '../network/resolv-conf.ts';
import type { Attached, ContainerPaths, NetworkAccess } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import type { ContainerConfig, ContainerNetwork, PortSpec } from './types.ts';

type Subject = Pick<ContainerRecord, 'id' | 'name' | 'spec'>;

const none = { ip: '', prefixLength: 0, gateway: '', ip6: '', prefixLength6: 0, gateway6: '', mac: '', ports: [] };

/** The network modes of a container: `bridge`, `none`, `host`, `container:ID`. */
export class NetworkModes implements NetworkAccess {
  readonly #bridge: BridgeNetwork;
  readonly #keel: Keel;
  readonly #arch: Plan['arch'];
  readonly #filesOf: (reference: string) => SharedFiles;

  /** `filesOf`: those of the container that a reference names. */
  constructor(parts: {
    bridge: BridgeNetwork;
    keel: Keel;
    arch: Plan['arch'];
    filesOf: (reference: string) => SharedFiles;
  }) {
    this.#bridge = parts.bridge;
    this.#keel = parts.keel;
    this.#arch = parts.arch;
    this.#filesOf = parts.filesOf;
  }

  attach(record: Subject): Attached {
    const { config } = record.spec;
    const mode = config.network ?? 'bridge';
    if (mode !== 'bridge') return this.preview(record);
    if (process.geteuid?.() !== 0) {
      throw new KeelsonError(
        'unsupported',
        'the bridge network needs root: run with --network none or --network host instead',
      );
    }
    return attached(record, this.#bridge.attach(record.id, publishedPorts(config)));
  }

  preview(record: Subject): Attached {
    const { config } = record.spec;
    const mode = config.network ?? 'bridge';
    if (mode === 'bridge') return attached(record, this.#bridge.rehearse(publishedPorts(config)));
    const network: ContainerNetwork = { mode, ...none };
    return {
      steps: mode === 'none' ? { container: configureLoopback } : {},
      network: () => network,
      ...files(record, network, mode.startsWith('container:') ? this.#filesOf(mode.slice(10)) : undefined),
    };
  }

  release(id: string): void {
    this.#bridge.release(id);
  }

  async cleanUp(context: Context, id: string): Promise<void> {
    if (this.#bridge.holders().includes(id)) await this.#bridge.reclaim(context, this.#keel, this.#arch, [id]);
  }
}

function attached(record: Subject, attachment: Attachment): Attached {
  const mode = 'bridge';
  return {
    steps: attachment,
    network: (bound) => ({ mode, ...attachment.addresses, ports: attachment.boundPorts(bound) }),
    ...files(record, { mode, ...attachment.addresses }, undefined),
  };
}

/** What `-p` names, and with `-P` every exposed port that it doesn't. */
export function publishedPorts(config: ContainerConfig): readonly PortSpec[] {
  const own = config.ports ?? [];
  if (!config.publishAll) return own;
  const named = new Set(own.map((p) => `${p.containerPort}/${p.protocol}`));
  const rest = (config.exposedPorts ?? []).filter((p) => !named.has(`${p.port}/${p.protocol}`));
  return [...own, ...rest.map(({ port, protocol }) => ({ hostIp: '', hostPort: 0, containerPort: port, protocol }))];
}

/** The files of the container whose network is joined. */
type SharedFiles = Pick<ContainerPaths, 'hosts' | 'resolvConf'>;

/** With the host's network the host's own files, with another container's those of that one. */
function files(
  record: Subject,
  network: Pick<ContainerNetwork, 'mode' | 'ip' | 'ip6' | 'gateway' | 'gateway6'>,
  shared: SharedFiles | undefined,
): Pick<Attached, 'hosts' | 'resolvConf'> {
  if (shared !== undefined) {
    return { hosts: readFileSync(shared.hosts, 'utf8'), resolvConf: readFileSync(shared.resolvConf, 'utf8') };
  }
  const { config } = record.spec;
  const hostNetwork = network.mode === 'host';
  const hosts = hostsFile({
    hostname: config.hostname || record.id.slice(0, 12),
    ...(config.domainname && { domainname: config.domainname }),
    ip: network.ip,
    ip6: network.ip6,
    extraHosts: config.extraHosts ?? [],
    gateways: hostNetwork ? ['127.0.0.1'] : [network.gateway, network.gateway6].filter((g) => g !== ''),
    ...(hostNetwork && { base: readFileSync('/etc/hosts', 'utf8') }),
  });
  return {
    hosts,
    resolvConf: resolvConf({
      host: hostResolvConf(),
      hostNetwork,
      ipv6: network.ip6 !== '',
      dns: config.dns ?? [],
      search: config.dnsSearch ?? [],
      options: config.dnsOptions ?? [],
    }),
  };
}
