import type { Container } from '../../engine/types.ts';
import { mountSummaries, networkName } from './container-summary.ts';
import { hostConfig, portMap } from './host-config.ts';
import { type Nil, listOrNil, mapOf, nilMap, nilSlice } from './nil.ts';
import { goTime } from './time.ts';

/** Ports for `Ports`: bound ones with their bindings, exposed ones without. Only while the container has a network. */
function networkPorts(container: Container): Map<string, object[] | Nil> {
  const ports = new Map<string, object[] | Nil>();
  if (container.state.pid === 0) return ports;
  for (const { port, protocol } of container.config.exposedPorts ?? []) ports.set(`${port}/${protocol}`, nilSlice);
  for (const [key, bindings] of portMap(container.network.ports, ['0.0.0.0', '::'])) ports.set(key, bindings);
  return ports;
}

function networkSettings(container: Container): object {
  const { network } = container;
  const mode = networkName(container);
  const endpoint = {
    Gateway: network.gateway,
    IPAddress: network.ip,
    IPPrefixLen: network.prefixLength,
    IPv6Gateway: network.gateway6,
    GlobalIPv6Address: network.ip6,
    GlobalIPv6PrefixLen: network.prefixLength6,
  };
  return {
    Bridge: '',
    SandboxID: '',
    SandboxKey: container.state.pid === 0 ? '' : `/proc/${container.state.pid}/ns/net`,
    Ports: networkPorts(container),
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: nilSlice,
    SecondaryIPv6Addresses: nilSlice,
    EndpointID: '',
    Gateway: endpoint.Gateway,
    GlobalIPv6Address: endpoint.GlobalIPv6Address,
    GlobalIPv6PrefixLen: endpoint.GlobalIPv6PrefixLen,
    IPAddress: endpoint.IPAddress,
    IPPrefixLen: endpoint.IPPrefixLen,
    IPv6Gateway: endpoint.IPv6Gateway,
    MacAddress: network.mac,
    Networks: new Map(
      mode.startsWith('container:')
        ? []
        : [
            [
              mode,
              {
                IPAMConfig: null,
                Links: nilSlice,
                Aliases: nilSlice,
                MacAddress: network.mac,
                DriverOpts: nilMap,
                GwPriority: 0,
                NetworkID: '',
                EndpointID: '',
                ...endpoint,
                DNSNames: nilSlice,
              },
            ],
          ],
    ),
  };
}

function config(container: Container): object {
  const { config: given } = container;
  const exposed = [
    ...(given.exposedPorts ?? []).map(({ port, protocol }) => `${port}/${protocol}`),
    ...(given.ports ?? []).map(({ containerPort, protocol }) => `${containerPort}/${protocol}`),
  ];
  const volumes = container.mounts.filter((mount) => mount.type === 'volume' && /^[0-9a-f]{64}$/.test(mount.name));
  return {
    Hostname: given.hostname ?? container.id.slice(0, 12),
    Domainname: given.domainname ?? '',
    User: given.user ?? '',
    AttachStdin: given.stdinOnce ?? false,
    AttachStdout: false,
    AttachStderr: false,
    ...(exposed.length > 0 && { ExposedPorts: new Map(exposed.map((port) => [port, {}])) }),
    Tty: given.tty ?? false,
    OpenStdin: given.openStdin ?? false,
    StdinOnce: given.stdinOnce ?? false,
    Env: listOrNil(given.env),
    Cmd: listOrNil(given.command),
    Image: given.image,
    Volumes: volumes.length === 0 ? nilMap : new Map(volumes.map((mount) => [mount.target, {}])),
    WorkingDir: given.workingDir ?? '',
    Entrypoint: listOrNil(given.entrypoint),
    OnBuild: nilSlice,
    Labels: mapOf(given.labels),
    ...(given.stopSignal !== undefined && { StopSignal: given.stopSignal }),
    ...(given.stopTimeout !== undefined && { StopTimeout: given.stopTimeout }),
  };
}

/** A container as `GET /containers/{id}/json` and `docker inspect` have it, in API 1.51's order of fields. */
export function containerInspect(container: Container): object {
  const { state } = container;
  return {
    Id: container.id,
    Created: goTime(container.createdAt),
    Path: container.path,
    Args: container.args,
    State: {
      Status: state.state,
      Running: state.state === 'running' || state.state === 'paused' || state.state === 'restarting',
      Paused: state.state === 'paused',
      Restarting: state.state === 'restarting',
      OOMKilled: state.oomKilled,
      Dead: state.state === 'dead',
      Pid: state.pid,
      ExitCode: state.exitCode,
      Error: state.error,
      StartedAt: goTime(state.startedAt),
      FinishedAt: goTime(state.finishedAt),
    },
    Image: container.imageId,
    ResolvConfPath: container.resolvConfPath,
    HostnamePath: container.hostnamePath,
    HostsPath: container.hostsPath,
    LogPath: container.logPath,
    Name: `/${container.name}`,
    RestartCount: container.restartCount,
    Driver: 'overlayfs',
    Platform: container.config.platform?.os ?? 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: '',
    ExecIDs: nilSlice,
    HostConfig: hostConfig(container),
    GraphDriver: { Data: nilMap, Name: 'overlayfs' },
    ...(container.sizeRw !== undefined && { SizeRw: container.sizeRw }),
    ...(container.sizeRootFs !== undefined && { SizeRootFs: container.sizeRootFs }),
    Mounts: mountSummaries(container),
    Config: config(container),
    NetworkSettings: networkSettings(container),
  };
}
