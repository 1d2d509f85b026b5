import { resolve } from 'node:path';
import type { ContainerConfig, MountSpec, Resources } from '../../engine/types.ts';
import { KeelsonError } from '../../ground/errors.ts';
import { parsePlatform } from '../../image/platform.ts';
import { parseExpose } from '../../network/parse-port.ts';
import { keyValues, readEnvironment, readLabels } from './key-values.ts';
import { parseDevice, parseRestart } from './limits.ts';
import { networkOptions } from './network.ts';
import type { ContainerValues, ResourceValues } from './run-flags.ts';
import { parseTmpfs, parseVolume } from './volume.ts';

function invalid(message: string): KeelsonError {
  return new KeelsonError('invalid-argument', message);
}

/** Drops the properties without a value: what isn't given isn't in a config. */
export function defined<T extends object>(draft: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(draft).filter(([, value]) => value !== undefined)) as T;
}

const orNone = <T>(values: readonly T[]): readonly T[] | undefined => (values.length === 0 ? undefined : values);
const textOrNone = (text: string): string | undefined => (text === '' ? undefined : text);

/** Limits, of the flags that run, create and update share. */
export function resourcesOf(flags: Readonly<ResourceValues>): Resources {
  return defined<Resources>({
    blkioWeight: flags['blkio-weight'],
    cpuPeriod: flags['cpu-period'],
    cpuQuota: flags['cpu-quota'],
    cpuShares: flags['cpu-shares'],
    nanoCpus: flags.cpus,
    cpusetCpus: textOrNone(flags['cpuset-cpus']),
    cpusetMems: textOrNone(flags['cpuset-mems']),
    memory: flags.memory,
    memoryReservation: flags['memory-reservation'],
    memorySwap: flags['memory-swap'],
    pidsLimit: flags['pids-limit'],
  });
}

/** `--mount`, `-v` and `--tmpfs` in one list; two for one place are an error, as with docker. */
function mountsOf(flags: Readonly<ContainerValues>): MountSpec[] {
  const mounts = [...flags.volume.map(parseVolume), ...flags.mount, ...flags.tmpfs.map(parseTmpfs)];
  const seen = new Set<string>();
  for (const { target } of mounts) {
    const place = resolve('/', target);
    if (seen.has(place)) throw invalid(`Duplicate mount point: ${target}`);
    seen.add(place);
  }
  return mounts;
}

/** Docker's words for a mode that is none. */
function checkMode(name: string, what: string, mode: string, pattern: RegExp): string | undefined {
  if (mode !== '' && !pattern.test(mode)) throw invalid(`--${name}: invalid ${what} mode`);
  return textOrNone(mode);
}

/** `no-new-privileges`, `key=value`; a seccomp profile's path is made absolute. `key:value` is the old form. */
function securityOpt(text: string): string {
  if (text === 'no-new-privileges') return text;
  const option = text.includes('=') ? text : text.replace(':', '=');
  const equals = option.indexOf('=');
  if (equals <= 0) throw invalid(`Invalid --security-opt: ${JSON.stringify(text)}`);
  const value = option.slice(equals + 1);
  if (option.startsWith('seccomp=') && value !== 'unconfined' && value !== 'builtin')
    return `seccomp=${resolve(value)}`;
  return option;
}

/** Whether any of the three streams was asked for with -a; with none given docker attaches to what makes sense. */
export function attachedStreams(flags: Pick<Readonly<ContainerValues>, 'attach' | 'interactive'>): {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
} {
  const { attach, interactive } = flags;
  if (attach.length === 0) return { stdin: interactive, stdout: true, stderr: true };
  return {
    stdin: attach.includes('stdin') && interactive,
    stdout: attach.includes('stdout'),
    stderr: attach.includes('stderr'),
  };
}

/** The container that a command line describes. Throws `invalid-argument` in docker's words. */
export function containerConfig(
  flags: Readonly<ContainerValues>,
  args: readonly string[],
  given: ReadonlySet<string>,
  options: { readonly detach: boolean },
): ContainerConfig {
  const [image = '', ...command] = args;
  const { pull } = flags;
  if (pull !== 'always' && pull !== 'missing' && pull !== 'never' && pull !== '')
    throw invalid(`invalid pull option: '${pull}': must be one of "always", "missing" or "never"`);
  const restart = parseRestart(flags.restart);
  if (flags.rm && restart.name !== 'no') throw invalid('conflicting options: cannot specify both --restart and --rm');
  const swappiness = flags['memory-swappiness'];
  if (swappiness !== undefined && (swappiness < -1 || swappiness > 100))
    throw invalid(`invalid value: ${swappiness}. Valid memory swappiness range is 0-100`);
  const resources = defined<Resources>({
    ...resourcesOf(flags),
    memorySwappiness: swappiness === -1 ? undefined : swappiness,
    oomKillDisable: flags['oom-kill-disable'] || undefined,
  });
  const labels = readLabels(flags['label-file'], flags.label);
  const logOptions = keyValues(flags['log-opt']);
  const logDriver = textOrNone(flags['log-driver']);
  if (logDriver !== undefined && logDriver !== 'json-file' && logDriver !== 'none')
    throw invalid(`logging driver "${logDriver}" is not supported by keelson: "json-file" and "none" are`);
  const cgroupns = checkMode('cgroupns', 'CGROUP', flags.cgroupns, /^(host|private)$/);
  const { stdin } = attachedStreams(flags);

  return defined<ContainerConfig>({
    image,
    name: textOrNone(flags.name),
    platform: flags.platform === '' ? undefined : parsePlatform(flags.platform),
    pull: pull === '' ? undefined : pull,
    command: orNone(command),
    entrypoint: given.has('entrypoint') ? (flags.entrypoint === '' ? [] : [flags.entrypoint]) : undefined,
    env: orNone(readEnvironment(flags['env-file'], flags.env)),
    labels: Object.keys(labels).length === 0 ? undefined : labels,
    user: textOrNone(flags.user),
    groupAdd: orNone(flags['group-add']),
    workingDir: textOrNone(flags.workdir),
    tty: flags.tty || undefined,
    openStdin: flags.interactive || undefined,
    stdinOnce: (stdin && !options.detach) || undefined,
    hostname: textOrNone(flags.hostname),
    domainname: textOrNone(flags.domainname),
    mounts: orNone(mountsOf(flags)),
    volumesFrom: orNone(flags['volumes-from']),
    ...networkOptions(flags),
    exposedPorts: orNone(flags.expose.flatMap(parseExpose)),
    readOnlyRootfs: flags['read-only'] || undefined,
    privileged: flags.privileged || undefined,
    capAdd: orNone(flags['cap-add']),
    capDrop: orNone(flags['cap-drop']),
    securityOpt: orNone(flags['security-opt'].map(securityOpt)),
    resources: Object.keys(resources).length === 0 ? undefined : resources,
    ulimits: orNone(flags.ulimit),
    devices: orNone(flags.device.map(parseDevice)),
    sysctls: flags.sysctl.length === 0 ? undefined : keyValues(flags.sysctl),
    shmSize: flags['shm-size'],
    init: flags.init || undefined,
    stopSignal: textOrNone(flags['stop-signal']),
    stopTimeout: flags['stop-timeout'],
    restart: restart.name === 'no' ? undefined : restart,
    autoRemove: flags.rm || undefined,
    logDriver,
    logOptions: Object.keys(logOptions).length === 0 ? undefined : logOptions,
    pidMode: checkMode('pid', 'PID', flags.pid, /^(host|container:.+)$/),
    ipcMode: textOrNone(flags.ipc),
    utsMode: checkMode('uts', 'UTS', flags.uts, /^host$/),
    usernsMode: checkMode('userns', 'USER', flags.userns, /^host$/),
    cgroupnsMode: cgroupns as ContainerConfig['cgroupnsMode'],
    oomScoreAdj: flags['oom-score-adj'],
  });
}
