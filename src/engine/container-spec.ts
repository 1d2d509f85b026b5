/**
 * From a container's merged config to an OCI config: docker's defaults (mounts, devices, masked paths, capabilities), laid
 * out as the specification has it. Pure, but for reading the host's device numbers where devices are asked for.
 */
import { adjustCapabilities, capabilityNames, defaultCapabilities } from '../kernel/capabilities.ts';
import { toRlimit } from '../kernel/rlimits.ts';
import type {
  LinuxCapabilities,
  LinuxIdMapping,
  LinuxNamespace,
  LinuxNamespaceType,
  Mount,
  Spec,
} from '../spec/runtime.ts';
import { allHostDevices, hostDevices } from './host-devices.ts';
import type { ResolvedMount } from './record.ts';
import { deviceRules, linuxResources } from './spec-resources.ts';
import type { ConsoleSize, ContainerConfig } from './types.ts';

export interface SpecInput {
  readonly id: string;
  readonly config: ContainerConfig;
  /** argv. */
  readonly args: readonly string[];
  readonly mounts: readonly ResolvedMount[];
  /** The directory of a named volume on the host. */
  volumePath(name: string): string;
  /** Files made for this container, bind-mounted over those in /etc. */
  readonly files: { readonly hostname: string; readonly hosts: string; readonly resolvConf: string };
  /** pids of the containers whose namespaces are joined (`container:ID` modes); the network may also be given as a path. */
  readonly joins: { readonly pid?: number; readonly ipc?: number; readonly network?: number };
  /** For a user namespace of its own. */
  readonly idMap?: { readonly uids: readonly LinuxIdMapping[]; readonly gids: readonly LinuxIdMapping[] };
  /** The names of capabilities that this process may give. */
  readonly availableCapabilities: readonly string[];
  readonly cgroupsPath: string;
  /** No control groups at hand (rootless): nothing is mounted at /sys/fs/cgroup but what the host has. */
  readonly cgroupMount: boolean;
}

export const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const maskedPaths = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

export function containerSpec(input: SpecInput): Spec {
  const { config } = input;
  const privileged = config.privileged === true;
  const unmasked = privileged || securityOption(config, 'systempaths') === 'unconfined';
  const devices = privileged ? allHostDevices() : (config.devices ?? []).flatMap(hostDevices);
  const user = input.idMap && { uidMappings: input.idMap.uids, gidMappings: input.idMap.gids };
  const shared = input.mounts.map((m) => m.propagation ?? '').filter((p) => /shared|slave/.test(p));
  return {
    ociVersion: '1.2.1',
    root: { path: 'rootfs', readonly: config.readOnlyRootfs === true },
    hostname: config.hostname || input.id.slice(0, 12),
    ...(config.domainname && { domainname: config.domainname }),
    process: {
      terminal: config.tty === true,
      ...(config.tty && config.consoleSize && { consoleSize: consoleSize(config.consoleSize) }),
      user: { uid: 0, gid: 0 },
      args: input.args,
      env: environment(config, input.id),
      cwd: config.workingDir || '/',
      capabilities: capabilities(config, input.availableCapabilities),
      rlimits: (config.ulimits ?? []).map(toRlimit),
      noNewPrivileges: ['true', '1', ''].includes(securityOption(config, 'no-new-privileges') ?? 'false'),
      ...(config.oomScoreAdj !== undefined && { oomScoreAdj: config.oomScoreAdj }),
    },
    mounts: [
      ...standardMounts(input, privileged),
      ...fileMounts(input),
      ...input.mounts.map((m) => ociMount(input, m)),
    ],
    linux: {
      namespaces: namespaces(input),
      ...user,
      devices,
      sysctl: sysctls(input),
      resources: {
        ...linuxResources(config.resources ?? {}),
        devices: privileged ? [{ allow: true, access: 'rwm' }] : deviceRules(devices, config.devices ?? []),
      },
      cgroupsPath: input.cgroupsPath,
      maskedPaths: unmasked ? [] : maskedPaths,
      readonlyPaths: unmasked ? [] : readonlyPaths,
      rootfsPropagation: shared.some((p) => p.includes('shared')) ? 'rshared' : 'rslave',
    },
  };
}

/** The value of a `--security-opt KEY=VALUE`, '' for KEY alone; undefined where it isn't given. The last one counts. */
export function securityOption(config: ContainerConfig, key: string): string | undefined {
  const option = (config.securityOpt ?? []).findLast(
    (o) => o === key || o.startsWith(`${key}=`) || o.startsWith(`${key}:`),
  );
  return option?.slice(key.length + 1);
}

/** A terminal's size as the runtime-spec has it. */
export function consoleSize({ columns, rows }: ConsoleSize): { readonly width: number; readonly height: number } {
  return { width: columns, height: rows };
}

function environment(config: ContainerConfig, id: string): readonly string[] {
  const own = (config.env ?? []).filter((e) => e.includes('='));
  const has = (name: string) => own.some((e) => e.startsWith(`${name}=`));
  // A bare NAME takes a default away, as docker's client means it.
  const removed = (name: string) => (config.env ?? []).includes(name);
  const defaults = [
    defaultPath,
    `HOSTNAME=${config.hostname || id.slice(0, 12)}`,
    ...(config.tty ? ['TERM=xterm'] : []),
  ].filter((e) => !has(e.slice(0, e.indexOf('='))) && !removed(e.slice(0, e.indexOf('='))));
  return [...defaults, ...own];
}

/** Docker's rule: a user other than root starts with the bounding set alone; programs gain through file capabilities. */
function capabilities(config: ContainerConfig, available: readonly string[]): LinuxCapabilities {
  const names = config.privileged
    ? capabilityNames.filter((n) => available.includes(n))
    : adjustCapabilities(defaultCapabilities, config.capAdd ?? [], config.capDrop ?? [], available);
  return { bounding: names, effective: names, permitted: names };
}

function namespaces(input: SpecInput): readonly LinuxNamespace[] {
  const { config, joins } = input;
  const list: LinuxNamespace[] = [{ type: 'mount' }];
  const add = (type: LinuxNamespaceType, file: string, mode: string | undefined, pid: number | undefined) => {
    if (mode?.startsWith('container:')) list.push({ type, path: `/proc/${pid}/ns/${file}` });
    else if (mode !== 'host') list.push({ type });
  };
  add('pid', 'pid', config.pidMode, joins.pid);
  add('network', 'net', config.network, joins.network);
  add('ipc', 'ipc', config.ipcMode, joins.ipc);
  add('uts', 'uts', config.utsMode, undefined);
  add('cgroup', 'cgroup', config.cgroupnsMode, undefined);
  if (input.idMap) list.push({ type: 'user' });
  return list;
}

function standardMounts(input: SpecInput, privileged: boolean): readonly Mount[] {
  const { config, joins } = input;
  const access = privileged ? 'rw' : 'ro';
  const strict = ['nosuid', 'noexec', 'nodev'];
  // A group that the user namespace doesn't map can't own anything in it.
  const ttyGroup = input.idMap?.gids.some((m) => m.containerID <= 5 && 5 < m.containerID + m.size) ?? true;
  const mounts: Mount[] = [
    { destination: '/proc', type: 'proc', source: 'proc', options: strict },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', ...(ttyGroup ? ['gid=5'] : [])],
    },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...strict, access] },
  ];
  if (input.cgroupMount) {
    mounts.push({ destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: [...strict, access] });
  }
  mounts.push({ destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: strict });
  if (config.ipcMode?.startsWith('container:')) {
    mounts.push({
      destination: '/dev/shm',
      type: 'bind',
      source: `/proc/${joins.ipc}/root/dev/shm`,
      options: ['bind', ...strict],
    });
  } else if (config.ipcMode === 'host') {
    mounts.push({ destination: '/dev/shm', type: 'bind', source: '/dev/shm', options: ['bind', ...strict] });
  } else if (config.ipcMode !== 'none') {
    mounts.push({
      destination: '/dev/shm',
      type: 'tmpfs',
      source: 'shm',
      options: [...strict, 'mode=1777', `size=${config.shmSize || 64 << 20}`],
    });
  }
  const taken = new Set(input.mounts.map((m) => m.target));
  return mounts.filter((m) => !taken.has(m.destination));
}

function fileMounts(input: SpecInput): readonly Mount[] {
  const { files } = input;
  const taken = new Set(input.mounts.map((m) => m.target));
  return (
    [
      ['/etc/resolv.conf', files.resolvConf],
      ['/etc/hostname', files.hostname],
      ['/etc/hosts', files.hosts],
    ] as const
  )
    .filter(([destination, source]) => source !== '' && !taken.has(destination))
    .map(([destination, source]) => ({ destination, type: 'bind', source, options: ['rbind', 'rprivate'] }));
}

function ociMount(input: SpecInput, mount: ResolvedMount): Mount {
  const access = mount.readOnly ? 'ro' : 'rw';
  if (mount.type === 'tmpfs') {
    const size = mount.tmpfsSize ? [`size=${mount.tmpfsSize}`] : [];
    const mode = mount.tmpfsMode === undefined ? [] : [`mode=${mount.tmpfsMode.toString(8)}`];
    return {
      destination: mount.target,
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['noexec', 'nosuid', 'nodev', access, ...(mount.options ?? []), ...size, ...mode],
    };
  }
  const source = mount.type === 'volume' ? input.volumePath(mount.name) : mount.source;
  const recursion = mount.nonRecursive ? 'bind' : 'rbind';
  const propagation = mount.propagation ?? 'rprivate';
  return {
    destination: mount.target,
    type: 'bind',
    source,
    options: [recursion, access, propagation, ...(mount.options ?? [])],
  };
}

/** Docker lets every user open low ports and ping in a network namespace of its own. */
function sysctls({ config, idMap }: SpecInput): Readonly<Record<string, string>> {
  const ownNetwork = config.network !== 'host' && !config.network?.startsWith('container:');
  return {
    ...(ownNetwork && { 'net.ipv4.ip_unprivileged_port_start': '0' }),
    // The range is of groups as the user namespace has them, and it doesn't have that many.
    ...(ownNetwork && !idMap && { 'net.ipv4.ping_group_range': '0 2147483647' }),
    ...config.sysctls,
  };
}
