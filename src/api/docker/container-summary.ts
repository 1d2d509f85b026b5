import type { Container } from '../../engine/types.ts';
import { type PortSummary, portSummaries } from './container-ports.ts';
import { containerStatusText } from './container-status.ts';
import { mapOf } from './nil.ts';

export interface MountSummary {
  readonly Type: string;
  readonly Name?: string;
  readonly Source: string;
  readonly Destination: string;
  readonly Driver?: string;
  readonly Mode: string;
  readonly RW: boolean;
  readonly Propagation: string;
}

/** A container as `GET /containers/json` lists it. */
export interface ContainerSummary {
  readonly Id: string;
  readonly Names: readonly string[];
  readonly Image: string;
  readonly ImageID: string;
  readonly Command: string;
  /** Seconds since the epoch. */
  readonly Created: number;
  readonly Ports: readonly PortSummary[];
  readonly SizeRw?: number;
  readonly SizeRootFs?: number;
  readonly Labels: ReadonlyMap<string, string>;
  readonly State: string;
  readonly Status: string;
  readonly HostConfig: { readonly NetworkMode: string };
  readonly NetworkSettings: { readonly Networks: ReadonlyMap<string, object> };
  readonly Mounts: readonly MountSummary[];
}

/** The command as one line; words with spaces in single quotes, as docker shows it. */
export function commandText(path: string, args: readonly string[]): string {
  const words = args.map((arg) => (arg.includes(' ') ? `'${arg}'` : arg));
  return [path, ...words].join(' ');
}

/** Docker's name of the network a container is in. */
export function networkName(container: Container): string {
  return container.config.network ?? 'bridge';
}

export function mountSummaries(container: Container): MountSummary[] {
  return container.mounts
    .filter((mount) => mount.type !== 'tmpfs')
    .map((mount) => ({
      Type: mount.type,
      ...(mount.type === 'volume' && { Name: mount.name }),
      Source: mount.source,
      Destination: mount.target,
      ...(mount.type === 'volume' && { Driver: 'local' }),
      Mode: mount.readOnly ? 'ro' : '',
      RW: !mount.readOnly,
      Propagation: mount.type === 'volume' ? '' : mount.propagation,
    }));
}

export function containerSummary(container: Container, now: number = Date.now()): ContainerSummary {
  const network = networkName(container);
  return {
    Id: container.id,
    Names: [`/${container.name}`],
    Image: container.config.image,
    ImageID: container.imageId,
    Command: commandText(container.path, container.args),
    Created: Math.trunc(container.createdAt / 1000),
    Ports: portSummaries(container),
    ...(container.sizeRw !== undefined && { SizeRw: container.sizeRw }),
    ...(container.sizeRootFs !== undefined && { SizeRootFs: container.sizeRootFs }),
    Labels: mapOf(container.config.labels),
    State: container.state.state,
    Status: containerStatusText(container.state, now),
    HostConfig: { NetworkMode: network },
    NetworkSettings: { Networks: new Map(network.startsWith('container:') ? [] : [[network, {}]]) },
    Mounts: mountSummaries(container),
  };
}
