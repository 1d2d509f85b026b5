import type { Container, ContainerConfig, MountSpec, PortSpec } from '../../engine/types.ts';
import { networkName } from './container-summary.ts';
import { listOrNil, mapOf } from './nil.ts';

/** What docker hides and write-protects below /proc and /sys unless told otherwise. */
const maskedPaths = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

/** The `-v` form of a mount. */
function bindText(mount: MountSpec): string {
  const options = [
    ...(mount.readOnly ? ['ro'] : []),
    ...(mount.noCopy === true ? ['nocopy'] : []),
    ...(mount.propagation !== undefined && mount.propagation !== 'rprivate' ? [mount.propagation] : []),
  ];
  return [mount.source, mount.target, ...(options.length > 0 ? [options.join(',')] : [])].join(':');
}

/** Ports by `80/tcp`, each with the addresses and ports of the host they are bound to. */
export function portMap(ports: readonly PortSpec[], everyAddress: readonly string[]): Map<string, object[]> {
  const map = new Map<string, object[]>();
  for (const port of ports) {
    const key = `${port.containerPort}/${port.protocol}`;
    const bindings = map.get(key) ?? [];
    for (const HostIp of port.hostIp === '' ? everyAddress : [port.hostIp])
      bindings.push({ HostIp, HostPort: port.hostPort === 0 ? '' : String(port.hostPort) });
    map.set(key, bindings);
  }
  return map;
}

function tmpfsOptions(mount: MountSpec): string {
  return [
    ...(mount.options ?? []),
    ...(mount.tmpfsSize === undefined ? [] : [`size=${mount.tmpfsSize}`]),
    ...(mount.tmpfsMode === undefined ? [] : [`mode=${mount.tmpfsMode.toString(8)}`]),
    ...(mount.readOnly ? ['ro'] : []),
  ].join(',');
}

function memorySwap(config: ContainerConfig): number {
  const { memory = 0, memorySwap: given } = config.resources ?? {};
  return given ?? memory * 2;
}

/** Docker's HostConfig of a container: what its maker asked of the host. */
export function hostConfig(container: Container): object {
  const { config } = container;
  const resources = config.resources ?? {};
  const mounts = config.mounts ?? [];
  const tmpfs = mounts.filter((mount) => mount.type === 'tmpfs');
  const unconfined = config.privileged === true || (config.securityOpt ?? []).includes('systempaths=unconfined');
  return {
    Binds: listOrNil(mounts.filter((mount) => mount.type !== 'tmpfs' && mount.source !== '').map(bindText)),
    ContainerIDFile: '',
    LogConfig: { Type: config.logDriver ?? 'json-file', Config: mapOf(config.logOptions) },
    NetworkMode: networkName(container),
    PortBindings: portMap(config.ports ?? [], ['']),
    RestartPolicy: {
      Name: config.restart?.name ?? 'no',
      MaximumRetryCount: config.restart?.maximumRetryCount ?? 0,
    },
    AutoRemove: config.autoRemove ?? false,
    VolumeDriver: '',
    VolumesFrom: listOrNil(config.volumesFrom),
    ConsoleSize: [config.consoleSize?.rows ?? 0, config.consoleSize?.columns ?? 0],
    CapAdd: listOrNil(config.capAdd),
    CapDrop: listOrNil(config.capDrop),
    CgroupnsMode: config.cgroupnsMode ?? '',
    Dns: config.dns ?? [],
    DnsOptions: config.dnsOptions ?? [],
    DnsSearch: config.dnsSearch ?? [],
    ExtraHosts: listOrNil(config.extraHosts),
    GroupAdd: listOrNil(config.groupAdd),
    IpcMode: config.ipcMode === undefined || config.ipcMode === '' ? 'private' : config.ipcMode,
    Cgroup: '',
    Links: listOrNil(undefined),
    OomScoreAdj: config.oomScoreAdj ?? 0,
    PidMode: config.pidMode ?? '',
    Privileged: config.privileged ?? false,
    PublishAllPorts: config.publishAll ?? false,
    ReadonlyRootfs: config.readOnlyRootfs ?? false,
    SecurityOpt: listOrNil(config.securityOpt),
    ...(tmpfs.length > 0 && { Tmpfs: new Map(tmpfs.map((mount) => [mount.target, tmpfsOptions(mount)])) }),
    UTSMode: config.utsMode ?? '',
    UsernsMode: config.usernsMode ?? '',
    ShmSize: config.shmSize ?? 64 * 1024 * 1024,
    ...(config.sysctls && Object.keys(config.sysctls).length > 0 && { Sysctls: mapOf(config.sysctls) }),
    Runtime: 'keelson',
    Isolation: '',
    CpuShares: resources.cpuShares ?? 0,
    Memory: resources.memory ?? 0,
    NanoCpus: resources.nanoCpus ?? 0,
    CgroupParent: '',
    BlkioWeight: resources.blkioWeight ?? 0,
    BlkioWeightDevice: [],
    BlkioDeviceReadBps: [],
    BlkioDeviceWriteBps: [],
    BlkioDeviceReadIOps: [],
    BlkioDeviceWriteIOps: [],
    CpuPeriod: resources.cpuPeriod ?? 0,
    CpuQuota: resources.cpuQuota ?? 0,
    CpuRealtimePeriod: 0,
    CpuRealtimeRuntime: 0,
    CpusetCpus: resources.cpusetCpus ?? '',
    CpusetMems: resources.cpusetMems ?? '',
    Devices: (config.devices ?? []).map((device) => ({
      PathOnHost: device.hostPath,
      PathInContainer: device.containerPath,
      CgroupPermissions: device.permissions,
    })),
    DeviceCgroupRules: listOrNil(undefined),
    DeviceRequests: listOrNil(undefined),
    MemoryReservation: resources.memoryReservation ?? 0,
    MemorySwap: memorySwap(config),
    MemorySwappiness: resources.memorySwappiness ?? null,
    OomKillDisable: resources.oomKillDisable ?? false,
    PidsLimit: resources.pidsLimit ?? null,
    Ulimits: (config.ulimits ?? []).map(({ name, soft, hard }) => ({ Name: name, Hard: hard, Soft: soft })),
    CpuCount: 0,
    CpuPercent: 0,
    IOMaximumIOps: 0,
    IOMaximumBandwidth: 0,
    ...(config.init === true && { Init: true }),
    MaskedPaths: unconfined ? listOrNil(undefined) : maskedPaths,
    ReadonlyPaths: unconfined ? listOrNil(undefined) : readonlyPaths,
  };
}
