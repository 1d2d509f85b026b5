import { formatExtraHost, parseDns, parseDnsOption, parseDnsSearch, parseExtraHost } from '../../network/parse-dns.ts';
import { type FlagTable, type FlagsFor, bool, flag, int, list, listOf, parsed, refused, string } from '../flags.ts';
import type { MountSpec, Ulimit } from '../../engine/types.ts';
import { parseBytes, parseBytesOrUnlimited, parseCpus } from './bytes.ts';
import { checkEnv, checkLabel } from './key-values.ts';
import { parseUlimit } from './limits.ts';
import { parseMount } from './mount.ts';

function checkStream(text: string): string {
  const name = text.toLowerCase();
  if (!['stdin', 'stdout', 'stderr'].includes(name)) throw new Error('valid streams are STDIN, STDOUT and STDERR');
  return name;
}

/** Only what is kept in a namespace of the container may be set, as with docker. */
function checkSysctl(text: string): string {
  const [name = '', ...value] = text.split('=');
  const known = [
    'kernel.msgmax',
    'kernel.msgmnb',
    'kernel.msgmni',
    'kernel.sem',
    'kernel.shmall',
    'kernel.shmmax',
    'kernel.shmmni',
    'kernel.shm_rmid_forced',
  ];
  if (value.length === 0 || !(known.includes(name) || /^(net|fs\.mqueue)\../.test(name)))
    throw new Error(`sysctl '${text}' is not allowed`);
  return text;
}

/** One value, which the last of several sets. */
const bytes = (help: string, short?: string): ReturnType<typeof parsed<number>> =>
  parsed(help, { type: 'bytes', parse: parseBytes, ...(short !== undefined && { short }) });

export interface ResourceValues {
  'blkio-weight': number | undefined;
  'cpu-period': number | undefined;
  'cpu-quota': number | undefined;
  'cpu-shares': number | undefined;
  cpus: number | undefined;
  'cpuset-cpus': string;
  'cpuset-mems': string;
  memory: number | undefined;
  'memory-reservation': number | undefined;
  'memory-swap': number | undefined;
  'pids-limit': number | undefined;
}

/** What both a new container and `update` may be given. */
export const resourceFlags: FlagsFor<ResourceValues> = {
  'blkio-weight': int('Block IO (relative weight), between 10 and 1000, or 0 to disable', {
    type: 'uint16',
    shownDefault: '0',
  }),
  'cpu-period': int('Limit CPU CFS (Completely Fair Scheduler) period'),
  'cpu-quota': int('Limit CPU CFS (Completely Fair Scheduler) quota'),
  'cpu-shares': int('CPU shares (relative weight)', { short: 'c' }),
  cpus: parsed('Number of CPUs', { type: 'decimal', parse: parseCpus }),
  'cpuset-cpus': string('CPUs in which to allow execution (0-3, 0,1)'),
  'cpuset-mems': string('MEMs in which to allow execution (0-3, 0,1)'),
  memory: bytes('Memory limit', 'm'),
  'memory-reservation': bytes('Memory soft limit'),
  'memory-swap': parsed("Swap limit equal to memory plus swap: '-1' to enable unlimited swap", {
    type: 'bytes',
    parse: parseBytesOrUnlimited,
  }),
  'pids-limit': int('Tune container pids limit (set -1 for unlimited)'),
};

/** What they are worth. */
export interface ContainerValues extends ResourceValues {
  'add-host': readonly string[];
  attach: readonly string[];
  'cap-add': readonly string[];
  'cap-drop': readonly string[];
  cgroupns: string;
  cidfile: string;
  device: readonly string[];
  'disable-content-trust': boolean;
  dns: readonly string[];
  'dns-option': readonly string[];
  'dns-search': readonly string[];
  domainname: string;
  entrypoint: string;
  env: readonly string[];
  'env-file': readonly string[];
  expose: readonly string[];
  'group-add': readonly string[];
  hostname: string;
  init: boolean;
  interactive: boolean;
  ipc: string;
  label: readonly string[];
  'label-file': readonly string[];
  'log-driver': string;
  'log-opt': readonly string[];
  'memory-swappiness': number | undefined;
  mount: readonly MountSpec[];
  name: string;
  network: readonly string[];
  net: readonly string[];
  'no-healthcheck': boolean;
  'oom-kill-disable': boolean;
  'oom-score-adj': number | undefined;
  pid: string;
  platform: string;
  privileged: boolean;
  publish: readonly string[];
  'publish-all': boolean;
  pull: string;
  quiet: boolean;
  'read-only': boolean;
  restart: string;
  rm: boolean;
  'security-opt': readonly string[];
  'shm-size': number | undefined;
  'stop-signal': string;
  'stop-timeout': number | undefined;
  sysctl: readonly string[];
  tmpfs: readonly string[];
  tty: boolean;
  ulimit: readonly Ulimit[];
  user: string;
  userns: string;
  uts: string;
  volume: readonly string[];
  'volume-driver': string;
  'volumes-from': readonly string[];
  workdir: string;
}

/** Everything that describes a container: the flags of create, run and explain run. */
export const containerFlags: FlagsFor<ContainerValues> = {
  ...resourceFlags,
  'add-host': list('Add a custom host-to-IP mapping (host:ip)', {
    check: (text) => formatExtraHost(parseExtraHost(text)),
  }),
  attach: list('Attach to STDIN, STDOUT or STDERR', { short: 'a', check: checkStream }),
  'cap-add': list('Add Linux capabilities'),
  'cap-drop': list('Drop Linux capabilities'),
  cgroupns: string(
    "Cgroup namespace to use (host|private)\n'host':    Run the container in the host's cgroup namespace\n'private': Run the container in its own private cgroup namespace",
  ),
  cidfile: string('Write the container ID to the file'),
  device: list('Add a host device to the container'),
  'disable-content-trust': bool('Skip image verification', { initial: true, hidden: true }),
  dns: list('Set custom DNS servers', { check: parseDns }),
  'dns-option': list('Set DNS options', { check: parseDnsOption }),
  'dns-search': list('Set custom DNS search domains', { check: parseDnsSearch }),
  domainname: string('Container NIS domain name'),
  entrypoint: string('Overwrite the default ENTRYPOINT of the image'),
  env: list('Set environment variables', { short: 'e', check: checkEnv }),
  'env-file': list('Read in a file of environment variables'),
  expose: list('Expose a port or a range of ports'),
  'group-add': list('Add additional groups to join'),
  hostname: string('Container host name', { short: 'h' }),
  init: bool('Run an init inside the container that forwards signals and reaps processes'),
  interactive: bool('Keep STDIN open even if not attached', { short: 'i' }),
  ipc: string('IPC mode to use'),
  label: list('Set meta data on a container', { short: 'l', check: checkLabel }),
  'label-file': list('Read in a line delimited file of labels'),
  'log-driver': string('Logging driver for the container'),
  'log-opt': list('Log driver options'),
  'memory-swappiness': int('Tune container memory swappiness (0 to 100)', { shownDefault: '-1' }),
  mount: listOf('Attach a filesystem mount to the container', { type: 'mount', parse: parseMount }),
  name: string('Assign a name to the container'),
  network: list('Connect a container to a network', { type: 'network' }),
  net: list('', { hidden: true }),
  'no-healthcheck': bool('Disable any container-specified HEALTHCHECK'),
  'oom-kill-disable': bool('Disable OOM Killer'),
  'oom-score-adj': int("Tune host's OOM preferences (-1000 to 1000)"),
  pid: string('PID namespace to use'),
  platform: string('Set platform if the image has several'),
  privileged: bool('Give extended privileges to this container'),
  publish: list("Publish a container's port(s) to the host", { short: 'p' }),
  'publish-all': bool('Publish all exposed ports to random ports', { short: 'P' }),
  pull: string('Pull image before running ("always", "missing", "never")', { initial: 'missing' }),
  quiet: bool('Suppress the pull output', { short: 'q' }),
  'read-only': bool("Mount the container's root filesystem as read only"),
  restart: string('Restart policy to apply when a container exits', { initial: 'no' }),
  rm: bool('Automatically remove the container and its associated anonymous volumes when it exits'),
  'security-opt': list('Security Options'),
  'shm-size': bytes('Size of /dev/shm'),
  'stop-signal': string('Signal to stop the container'),
  'stop-timeout': int('Timeout (in seconds) to stop a container'),
  sysctl: list('Sysctl options', { type: 'map', check: checkSysctl }),
  tmpfs: list('Mount a tmpfs directory'),
  tty: bool('Allocate a pseudo-TTY', { short: 't' }),
  ulimit: listOf('Ulimit options', { type: 'ulimit', parse: parseUlimit }),
  user: string('Username or UID (format: <name|uid>[:<group|gid>])', { short: 'u' }),
  userns: string('User namespace to use'),
  uts: string('UTS namespace to use'),
  volume: list('Bind mount a volume', { short: 'v' }),
  'volume-driver': flag<string>('Optional volume driver for the container', {
    type: 'string',
    initial: 'local',
    set: (_, text) => {
      if (text !== 'local') throw new Error('only the driver "local" is supported by keelson');
      return text;
    },
  }),
  'volumes-from': list('Mount volumes from the specified container(s)'),
  workdir: string('Working directory inside the container', { short: 'w' }),
};

export interface RunValues extends ContainerValues {
  detach: boolean;
  'detach-keys': string;
  'sig-proxy': boolean;
}

/** What only `run` has. */
export const runFlags: FlagsFor<RunValues> = {
  ...containerFlags,
  detach: bool('Run container in background and print container ID', { short: 'd' }),
  'detach-keys': string('Override the key sequence for detaching a container'),
  'sig-proxy': bool('Proxy received signals to the process', { initial: true }),
};

/** Docker's, and known here only to be refused. */
export const refusedResourceFlags: FlagTable = {
  'cpu-rt-period': refused('int'),
  'cpu-rt-runtime': refused('int'),
  'kernel-memory': refused('bytes'),
};

export const refusedContainerFlags: FlagTable = {
  ...refusedResourceFlags,
  annotation: refused('map'),
  'blkio-weight-device': refused('list'),
  'cgroup-parent': refused('string'),
  'cpu-count': refused('int', 'only Windows has it'),
  'cpu-percent': refused('int', 'only Windows has it'),
  'device-cgroup-rule': refused('list'),
  'device-read-bps': refused('list'),
  'device-read-iops': refused('list'),
  'device-write-bps': refused('list'),
  'device-write-iops': refused('list'),
  gpus: refused('gpu-request'),
  'health-cmd': refused('string'),
  'health-interval': refused('duration'),
  'health-retries': refused('int'),
  'health-start-interval': refused('duration'),
  'health-start-period': refused('duration'),
  'health-timeout': refused('duration'),
  'io-maxbandwidth': refused('bytes', 'only Windows has it'),
  'io-maxiops': refused('uint', 'only Windows has it'),
  ip: refused('string'),
  ip6: refused('string'),
  isolation: refused('string', 'only Windows has it'),
  link: refused('list'),
  'link-local-ip': refused('list'),
  'mac-address': refused('string'),
  'network-alias': refused('list'),
  'net-alias': refused('list'),
  runtime: refused('string'),
  'storage-opt': refused('list'),
  'use-api-socket': refused(''),
};
