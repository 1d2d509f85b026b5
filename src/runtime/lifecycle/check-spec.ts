/** What single properties of a config can't say: what doesn't go together, and what this machine doesn't have. Before anything is made. */
import { statSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { KeelsonError } from '../../ground/errors.ts';
import { parseMountOptions } from '../../kernel/mount-flags.ts';
import type { Linux, LinuxNamespaceType, Mount, Spec } from '../../spec/runtime.ts';
import { resctrlMount } from '../intel-rdt.ts';
import { checkMemoryPolicy } from '../memory-policy.ts';
import { isBind, isMapped } from '../mount-sources.ts';

export interface CheckOptions {
  /** The process that calls the runtime: its namespaces are the host's. */
  readonly caller: number;
  readonly warn: (message: string) => void;
}

export function invalid(where: string, why: string, section: string): KeelsonError {
  return new KeelsonError('invalid-argument', `config.json: ${where}: ${why} (OCI runtime-spec 1.3, ${section})`);
}

type Has = (type: LinuxNamespaceType) => boolean;

export function checkSpec(spec: Spec, options: CheckOptions): void {
  const linux = spec.linux ?? {};
  const namespaces = linux.namespaces ?? [];
  const has: Has = (type) => namespaces.some((n) => n.type === type);
  const fresh: Has = (type) => namespaces.some((n) => n.type === type && n.path === undefined);
  checkNames(spec, has);
  checkNamespaces(linux, has, fresh);
  for (const [i, mount] of (spec.mounts ?? []).entries()) checkMount(mount, `mounts[${i}]`, has, options);
  for (const key of Object.keys(linux.sysctl ?? {})) checkSysctl(key, spec, has, options);
  const devices = Object.keys(linux.netDevices ?? {});
  if (devices.length > 0 && !has('network'))
    throw invalid(
      'linux.netDevices',
      `unable to move network devices without a NET namespace: ${devices.join(', ')}`,
      'config-linux.md#network-devices',
    );
  if (linux.memoryPolicy) {
    const problem = checkMemoryPolicy(linux.memoryPolicy);
    if (problem) throw invalid(`linux.memoryPolicy.${problem.key}`, problem.why, 'config-linux.md#memory-policy');
  }
  if (linux.intelRdt && resctrlMount() === undefined)
    throw invalid(
      'linux.intelRdt',
      'intelRdt is specified in config, but Intel RDT is not enabled: no resctrl file system is mounted',
      'config-linux.md#intelrdt',
    );
}

function checkNames(spec: Spec, has: Has): void {
  for (const [type, value] of [
    ['hostname', spec.hostname],
    ['domainname', spec.domainname],
  ] as const) {
    if (value && !has('uts'))
      throw invalid(type, `unable to set ${type} without a private UTS namespace`, `config.md#${type}`);
  }
}

function checkNamespaces(linux: Linux, has: Has, fresh: Has): void {
  const hidden = (['maskedPaths', 'readonlyPaths'] as const).find((key) => linux[key]?.length);
  if (hidden && !has('mount'))
    throw invalid(
      `linux.${hidden}`,
      'unable to restrict sys entries without a private MNT namespace',
      `config-linux.md#${hidden === 'maskedPaths' ? 'masked-paths' : 'readonly-paths'}`,
    );
  const mappings = 'config-linux.md#user-namespace-mappings';
  const mapped = (linux.uidMappings?.length ?? 0) > 0 || (linux.gidMappings?.length ?? 0) > 0;
  if (mapped && !has('user'))
    throw invalid('linux.uidMappings', 'user namespace mappings specified, but no user namespace', mappings);
  if (fresh('user') && !linux.uidMappings?.length)
    throw invalid('linux.uidMappings', 'a new user namespace needs mappings', mappings);
  if (fresh('user') && !linux.gidMappings?.length)
    throw invalid('linux.gidMappings', 'a new user namespace needs mappings', mappings);
  if (linux.timeOffsets && Object.keys(linux.timeOffsets).length > 0 && !fresh('time'))
    throw invalid(
      'linux.timeOffsets',
      'time offsets need a new time namespace',
      'config-linux.md#offset-for-time-namespace',
    );
}

function checkMount(mount: Mount, where: string, has: Has, { warn }: CheckOptions): void {
  const options = parseMountOptions(mount.options ?? []);
  const section = 'config.md#mounts';
  if (!isAbsolute(mount.destination))
    warn(`mount ${mount.destination}: relative destination path is **deprecated**, using it as relative to /`);
  const bind = isBind(mount);
  // Nothing listens to them. Silence would take a misspelt `nosuid` for granted.
  const [words, values] = [
    options.data.filter((word) => !word.includes('=')),
    options.data.filter((word) => word.includes('=')),
  ];
  if (bind && words.length > 0)
    throw invalid(
      `${where}.options`,
      `bind mounts cannot have any filesystem-specific options applied: ${JSON.stringify(words)}`,
      section,
    );
  if (bind && values.length > 0) warn(`mount ${mount.destination}: a bind mount has no use for ${values.join(',')}`);
  if (bind && !options.remount && !mount.source)
    throw invalid(`${where}.source`, 'a bind mount needs a source', section);
  if (!bind && !mount.type && !options.remount) throw invalid(`${where}.type`, 'is missing', section);
  if (!isMapped(mount)) return;
  if (!bind) throw invalid(where, 'id-mapped mounts are only supported for bind-mounts', section);
  if (!mount.uidMappings?.length && !has('user'))
    throw invalid(
      where,
      'id-mapped mounts must have both uid and gid mappings specified where there is no user namespace',
      section,
    );
}

/** What an ordinary user, even as root of a user namespace, may not do. */
export function checkUnprivileged(spec: Spec): void {
  if (Object.keys(spec.linux?.netDevices ?? {}).length > 0)
    throw invalid(
      'linux.netDevices',
      'network devices are not supported for rootless containers',
      'config-linux.md#network-devices',
    );
  const mapped = (spec.mounts ?? []).findIndex(isMapped);
  if (mapped >= 0)
    throw invalid(
      `mounts[${mapped}]`,
      'id-mapped mounts are not supported for rootless containers',
      'config.md#mounts',
    );
}

/** Sysctls that belong to a namespace; others would change the host. */
const ipcSysctls = new Set([
  'kernel.msgmax',
  'kernel.msgmnb',
  'kernel.msgmni',
  'kernel.sem',
  'kernel.shmall',
  'kernel.shmmax',
  'kernel.shmmni',
  'kernel.shm_rmid_forced',
  'kernel.msg_next_id',
  'kernel.sem_next_id',
  'kernel.shm_next_id',
]);

function checkSysctl(key: string, spec: Spec, has: Has, { caller }: CheckOptions): void {
  // sysctl(8): the first separator says which is meant to be one.
  const dotted = /[./]/.exec(key)?.[0] === '/' ? key.replace(/[./]/g, (c) => (c === '/' ? '.' : '/')) : key;
  const refuse = (why: string) => invalid(`linux.sysctl["${key}"]`, `sysctl "${key}" ${why}`, 'config-linux.md#sysctl');
  if (ipcSysctls.has(dotted) || dotted.startsWith('fs.mqueue.')) {
    if (!has('ipc')) throw refuse('is not allowed in the hosts ipc namespace');
    return;
  }
  if (dotted.startsWith('net.')) {
    const net = spec.linux?.namespaces?.find((n) => n.type === 'network');
    if (!net || isCallers(net.path, caller)) throw refuse('not allowed in host network namespace');
    return;
  }
  if (dotted === 'kernel.domainname' || dotted === 'kernel.hostname') {
    if (!has('uts')) throw refuse('is not allowed in the hosts UTS namespace');
    if (dotted === 'kernel.hostname') throw refuse('is not allowed as it conflicts with the OCI "hostname" field');
    const value = spec.linux?.sysctl?.[key];
    if (spec.domainname && value !== spec.domainname)
      throw refuse(
        `${JSON.stringify(value)} conflicts with the OCI "domainname" field, ${JSON.stringify(spec.domainname)}`,
      );
    return;
  }
  if (dotted.startsWith('user.') && has('user')) return;
  throw refuse('is not in a separate kernel namespace');
}

function isCallers(path: string | undefined, caller: number): boolean {
  if (path === undefined) return false;
  try {
    return statSync(path).ino === statSync(`/proc/${caller}/ns/net`).ino;
  } catch {
    return false;
  }
}
