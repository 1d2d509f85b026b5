import { KeelsonError } from '../ground/errors.ts';
import { printable } from './names.ts';
import type { ContainerConfig, RestartPolicy } from './types.ts';
import { checkLogOptions } from './log-options.ts';
import { checkResources, type HostCapacity } from './validate-resources.ts';

/** Collects docker's warnings while it checks; throws `invalid-argument` or `conflict` with docker's words at the first error. */
export function validateConfig(config: ContainerConfig, host: HostCapacity): readonly string[] {
  checkStrings(config);
  checkModes(config);
  checkSecurity(config);
  checkRestart(config.restart, config.autoRemove === true);
  checkUlimits(config);
  checkDevices(config);
  checkLogOptions(config);
  checkSysctls(config);
  for (const entry of config.extraHosts ?? []) checkExtraHost(entry);
  if (config.shmSize !== undefined && config.shmSize < 0) throw invalid('SHM size can not be less than 0');
  if (config.stopTimeout !== undefined && !Number.isInteger(config.stopTimeout)) {
    throw invalid(`invalid stop timeout: ${config.stopTimeout}`);
  }
  if (config.oomScoreAdj !== undefined && !(Math.abs(config.oomScoreAdj) <= 1000)) {
    throw invalid(`Invalid value ${config.oomScoreAdj}, range for oom score adj is [-1000, 1000]`);
  }
  const warnings: string[] = [];
  if (config.network === 'host' && ((config.ports ?? []).length > 0 || config.publishAll)) {
    warnings.push('Published ports are discarded when using host network mode');
  }
  warnings.push(...checkResources(config.resources ?? {}, host));
  return warnings;
}

export function checkRestart(policy: RestartPolicy | undefined, autoRemove: boolean): void {
  if (policy === undefined) return;
  const { name, maximumRetryCount: retries } = policy;
  if (!['no', 'always', 'unless-stopped', 'on-failure'].includes(name)) {
    throw invalid(
      `invalid restart policy: unknown policy '${printable(name)}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  }
  if (retries < 0) throw invalid('invalid restart policy: maximum retry count cannot be negative');
  if (retries > 0 && name !== 'on-failure') {
    throw invalid(`invalid restart policy: maximum retry count can only be used with 'on-failure'`);
  }
  if (autoRemove && name !== 'no') {
    throw new KeelsonError('conflict', "can't create 'AutoRemove' container with restart policy");
  }
}

/** Nothing that becomes a C string may hold a NUL; what lands in line-based files may hold no newline either. */
function checkStrings(config: ContainerConfig): void {
  for (const entry of config.env ?? []) {
    if (entry === '' || entry.startsWith('=')) throw invalid(`invalid environment variable: ${printable(entry)}`);
    noNul('environment variable', entry);
  }
  for (const word of [...(config.entrypoint ?? []), ...(config.command ?? [])]) noNul('command', word);
  for (const word of config.groupAdd ?? []) line('group', word);
  line('user', config.user ?? '');
  checkUser(config.user ?? '');
  noNul('working directory', config.workingDir ?? '');
  checkHostname('hostname', config.hostname ?? '', 63);
  checkHostname('domain name', config.domainname ?? '', 253);
  for (const word of [...(config.dnsSearch ?? []), ...(config.dnsOptions ?? []), ...(config.dns ?? [])])
    line('dns', word);
  for (const [key, value] of Object.entries(config.labels ?? {})) {
    noNul('label', key);
    noNul('label', value);
  }
}

function checkModes(config: ContainerConfig): void {
  const network = config.network ?? 'bridge';
  if (!/^(none|host|bridge|container:.+)$/.test(network))
    throw new KeelsonError('not-found', `network ${printable(network)} not found`);
  const shared = network.startsWith('container:');
  const refuse = (what: string, when: boolean): void => {
    if (when) throw new KeelsonError('conflict', `conflicting options: ${what}`);
  };
  refuse('hostname and the network mode', shared && Boolean(config.hostname));
  refuse('custom host-to-IP mapping and the network mode', shared && (config.extraHosts ?? []).length > 0);
  refuse('dns and the network mode', shared && (config.dns ?? []).length > 0);
  refuse(
    'port publishing and the container type network mode',
    shared && ((config.ports ?? []).length > 0 || config.publishAll === true),
  );
  refuse('hostname and the UTS mode', config.utsMode === 'host' && Boolean(config.hostname));
  const mode = (what: string, value: string | undefined, pattern: RegExp): void => {
    if (value && !pattern.test(value)) throw invalid(`invalid ${what} mode: ${printable(value)}`);
  };
  mode('PID', config.pidMode, /^(host|private|container:.+)$/);
  mode('IPC', config.ipcMode, /^(host|private|shareable|none|container:.+)$/);
  mode('UTS', config.utsMode, /^host$/);
  mode('USER', config.usernsMode, /^host$/);
  for (const port of config.ports ?? []) {
    const { containerPort, hostPort } = port;
    if (!inRange(containerPort, 1, 65535)) throw invalid(`invalid containerPort: ${containerPort}`);
    if (!inRange(hostPort, 0, 65535)) throw invalid(`invalid hostPort: ${hostPort}`);
  }
}

/** The words; what they name (a profile's content, a capability) is looked at where it is used. */
function checkSecurity(config: ContainerConfig): void {
  for (const option of config.securityOpt ?? []) {
    const [key, value] = splitOnce(option, option.includes('=') || !option.startsWith('label:') ? '=' : ':');
    const known = ['seccomp', 'no-new-privileges', 'apparmor', 'label', 'systempaths'].includes(key);
    if (!known) throw invalid(`invalid --security-opt 2: "${printable(option)}"`);
    if (value === undefined && key !== 'no-new-privileges' && option !== 'label:disable') {
      throw invalid(`invalid --security-opt 1: "${printable(option)}"`);
    }
    if (key === 'no-new-privileges' && !['true', 'false', '1', '0', undefined].includes(value)) {
      throw invalid(`invalid --security-opt 2: "${printable(option)}"`);
    }
    if (key === 'systempaths' && value !== 'unconfined')
      throw invalid(`invalid --security-opt 2: "${printable(option)}"`);
  }
}

const ulimitNames = [
  'core',
  'cpu',
  'data',
  'fsize',
  'locks',
  'memlock',
  'msgqueue',
  'nice',
  'nofile',
  'nproc',
  'rss',
  'rtprio',
  'rttime',
  'sigpending',
  'stack',
];

function checkUlimits(config: ContainerConfig): void {
  for (const { name, soft, hard } of config.ulimits ?? []) {
    if (!ulimitNames.includes(name)) throw invalid(`invalid ulimit type: ${printable(name)}`);
    if (!Number.isSafeInteger(soft) || !Number.isSafeInteger(hard) || soft < -1 || hard < -1)
      throw invalid(`invalid ulimit value for ${name}: ${soft}:${hard}`);
    if (hard !== -1 && (soft > hard || soft === -1)) {
      throw invalid(`ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`);
    }
  }
}

function checkDevices(config: ContainerConfig): void {
  for (const { hostPath, containerPath, permissions } of config.devices ?? []) {
    noNul('device', hostPath);
    if (!hostPath.startsWith('/') || !containerPath.startsWith('/'))
      throw invalid(`bad format for path: ${printable(containerPath)}`);
    noNul('device', containerPath);
    if (!/^[rwm]{1,3}$/.test(permissions) || new Set(permissions).size !== permissions.length) {
      throw invalid(`bad mode specified: ${printable(permissions)}`);
    }
  }
}

/** Kernel parameters that belong to a namespace (as runc counts them); any other would change the host. */
function checkSysctls(config: ContainerConfig): void {
  for (const [key, value] of Object.entries(config.sysctls ?? {})) {
    if (!/^[a-z0-9_-]+([./][A-Za-z0-9_:@-]+)+$/.test(key) || key.includes('..'))
      throw invalid(`invalid sysctl name: ${printable(key)}`);
    line(`value of sysctl ${key}`, value);
    const dotted = key.replaceAll('/', '.');
    if (dotted.startsWith('net.')) {
      if (config.network === 'host') throw invalid(`sysctl "${key}" not allowed in host network namespace`);
      continue;
    }
    const ipc =
      dotted.startsWith('fs.mqueue.') ||
      [
        'kernel.msgmax',
        'kernel.msgmnb',
        'kernel.msgmni',
        'kernel.sem',
        'kernel.shmall',
        'kernel.shmmax',
        'kernel.shmmni',
        'kernel.shm_rmid_forced',
      ].includes(dotted);
    if (ipc && config.ipcMode === 'host') throw invalid(`sysctl "${key}" not allowed in host ipc namespace`);
    const uts = dotted === 'kernel.domainname';
    if (uts && config.utsMode === 'host') throw invalid(`sysctl "${key}" not allowed in host uts namespace`);
    if (!ipc && !uts) throw invalid(`sysctl "${key}" is not in a separate kernel namespace`);
  }
}

function checkExtraHost(entry: string): void {
  line('add-host', entry);
  const [name, address] = splitOnce(entry, entry.includes('=') ? '=' : ':');
  if (!name || /[\s#]/.test(name) || !address || !/^(host-gateway|[0-9a-fA-F:.[\]]+)$/.test(address)) {
    throw invalid(`bad format for add-host: "${printable(entry)}"`);
  }
}

/** `user`, `uid`, either with `:group` or `:gid`. Numbers must fit; names are looked up in the container's own files at start. */
export function checkUser(user: string): void {
  for (const word of user.split(':', 2)) {
    if (/^\d+$/.test(word) && Number(word) > 2 ** 31 - 1)
      throw invalid(`invalid user ${printable(user)}: uids and gids must be in range 0-2147483647`);
    if (/^-\d+$/.test(word))
      throw invalid(`invalid user ${printable(user)}: uids and gids must be in range 0-2147483647`);
  }
  if (user.split(':').length > 2) throw invalid(`invalid user ${printable(user)}`);
}

/** Letters, digits, and what real hosts are called; it lands in /etc/hosts and in the kernel. */
function checkHostname(what: string, name: string, most: number): void {
  if (name !== '' && (!/^[\w.-]+$/.test(name) || name.length > most))
    throw invalid(`invalid ${what} format: ${printable(name)}`);
}

function noNul(what: string, text: string): void {
  if (text.includes('\0')) throw invalid(`invalid ${what}: it contains a NUL byte: ${printable(text)}`);
}

function line(what: string, text: string): void {
  if (/\p{Cc}/u.test(text)) throw invalid(`invalid ${what}: it contains a control character: ${printable(text)}`);
}

function inRange(n: number, low: number, high: number): boolean {
  return Number.isInteger(n) && n >= low && n <= high;
}

/** Before and after the first separator; the second is undefined without one. */
export function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}

export function invalid(message: string): KeelsonError {
  return new KeelsonError('invalid-argument', message);
}
