/** A bundle's config.json, checked against the specification and against what can be told of it before anything is made. */
import { readFileSync, statSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import { fromSystemError, KeelsonError } from '../../ground/errors.ts';
import { parseConfig } from '../../spec/config.ts';
import type { LinuxNamespaceType, Process, Spec } from '../../spec/runtime.ts';

export interface Bundle {
  readonly path: string;
  readonly spec: Spec;
  readonly process: Process;
  readonly text: string;
  readonly rootfs: string;
}

const maxConfig = 16 << 20;

export function loadBundle(path: string): Bundle {
  const file = join(path, 'config.json');
  let text: string;
  try {
    if (statSync(file).size > maxConfig) throw new KeelsonError('invalid-argument', `${file} is larger than 16 MiB`);
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new KeelsonError('not-found', `JSON specification file ${file} not found`, { cause: error });
    throw fromSystemError(error, `reading ${file}`);
  }
  const spec = parseConfig(text);
  const { process } = spec;
  if (!process) throw invalid('process', 'is missing', 'config.md#process');
  if (!process.args?.length) throw invalid('process.args', 'must not be empty', 'config.md#process');
  checkSpec(spec);
  const rootfs = isAbsolute(spec.root.path) ? resolve(spec.root.path) : resolve(path, spec.root.path);
  const found = statSync(rootfs, { throwIfNoEntry: false });
  if (!found) throw invalid('root.path', `rootfs (${rootfs}) does not exist`, 'config.md#root');
  if (!found.isDirectory()) throw invalid('root.path', `rootfs (${rootfs}) is not a directory`, 'config.md#root');
  return { path, spec: withPlainMounts(spec, path, rootfs), process, text, rootfs };
}

/** Sources of bind mounts may be relative to the bundle (config.md#mounts). A destination that names the root file system is meant inside it, as runc has it. */
function withPlainMounts(spec: Spec, bundle: string, rootfs: string): Spec {
  if (!spec.mounts) return spec;
  const mounts = spec.mounts.map((mount) => {
    const { source, destination, type, options = [] } = mount;
    const bind = type === 'bind' || options.some((word) => word === 'bind' || word === 'rbind');
    const relative = bind && source !== undefined && source !== '' && !isAbsolute(source);
    const inside = rootfs !== '/' && (destination === rootfs || destination.startsWith(`${rootfs}/`));
    if (!relative && !inside) return mount;
    return {
      ...mount,
      ...(relative && { source: resolve(bundle, source) }),
      ...(inside && { destination: destination.slice(rootfs.length) || '/' }),
    };
  });
  return { ...spec, mounts };
}

function invalid(where: string, why: string, section: string): KeelsonError {
  return new KeelsonError('invalid-argument', `config.json: ${where}: ${why} (OCI runtime-spec 1.3, ${section})`);
}

/** Sysctls that belong to a namespace; others would change the host. */
const ipcSysctls = ['kernel.msgmax', 'kernel.msgmnb', 'kernel.msgmni', 'kernel.sem', 'kernel.shmall', 'kernel.shmmax'];
const moreIpcSysctls = [
  'kernel.shmmni',
  'kernel.shm_rmid_forced',
  'kernel.msg_next_id',
  'kernel.sem_next_id',
  'kernel.shm_next_id',
];

function checkSpec(spec: Spec): void {
  const namespaces = spec.linux?.namespaces ?? [];
  const has = (type: LinuxNamespaceType) => namespaces.some((n) => n.type === type);
  const fresh = (type: LinuxNamespaceType) => namespaces.some((n) => n.type === type && n.path === undefined);
  if (!has('mount')) throw invalid('linux.namespaces', 'a mount namespace is needed', 'config-linux.md#namespaces');
  for (const [type, value] of [
    ['hostname', spec.hostname],
    ['domainname', spec.domainname],
  ] as const) {
    if (value && !has('uts'))
      throw invalid(type, `unable to set ${type} without a private UTS namespace`, `config.md#${type}`);
  }
  const mapped = (spec.linux?.uidMappings?.length ?? 0) > 0 || (spec.linux?.gidMappings?.length ?? 0) > 0;
  if (mapped && !has('user'))
    throw invalid(
      'linux.uidMappings',
      'user namespace mappings specified, but no user namespace',
      'config-linux.md#user-namespace-mappings',
    );
  if (fresh('user') && !spec.linux?.uidMappings?.length)
    throw invalid(
      'linux.uidMappings',
      'a new user namespace needs mappings',
      'config-linux.md#user-namespace-mappings',
    );
  if (spec.linux?.timeOffsets && Object.keys(spec.linux.timeOffsets).length > 0 && !fresh('time'))
    throw invalid(
      'linux.timeOffsets',
      'time offsets need a new time namespace',
      'config-linux.md#offset-for-time-namespace',
    );
  for (const [i, mount] of (spec.mounts ?? []).entries()) {
    if (!isAbsolute(mount.destination))
      throw invalid(`mounts[${i}].destination`, `${mount.destination} is not an absolute path`, 'config.md#mounts');
  }
  const sysctls = spec.linux?.sysctl ?? {};
  for (const key of Object.keys(sysctls)) checkSysctl(key, has, namespaces);
  for (const key of ['kernel.domainname', 'kernel/domainname']) {
    const value = sysctls[key];
    if (value !== undefined && spec.domainname && value !== spec.domainname)
      throw invalid(
        `linux.sysctl["${key}"]`,
        `${value} conflicts with domainname ${spec.domainname}`,
        'config.md#domainname',
      );
  }
}

function checkSysctl(
  key: string,
  has: (type: LinuxNamespaceType) => boolean,
  namespaces: readonly { type: string; path?: string }[],
): void {
  const dotted = key.replaceAll('/', '.');
  const refuse = (why: string) => invalid(`linux.sysctl["${key}"]`, `sysctl "${key}" ${why}`, 'config-linux.md#sysctl');
  if ([...ipcSysctls, ...moreIpcSysctls].includes(dotted) || dotted.startsWith('fs.mqueue.')) {
    if (!has('ipc')) throw refuse('is not allowed in the hosts ipc namespace');
    return;
  }
  if (dotted.startsWith('net.')) {
    const net = namespaces.find((n) => n.type === 'network');
    if (!net || sameNamespace(net.path, 'net')) throw refuse('not allowed in host network namespace');
    return;
  }
  if (dotted === 'kernel.domainname' || dotted === 'kernel.hostname') {
    if (!has('uts')) throw refuse('is not allowed in the hosts UTS namespace');
    if (dotted === 'kernel.hostname') throw refuse('conflicts with hostname; use that');
    return;
  }
  if (dotted.startsWith('user.') && has('user')) return;
  throw refuse('is not in a separate kernel namespace');
}

function sameNamespace(path: string | undefined, name: string): boolean {
  if (path === undefined) return false;
  try {
    return statSync(path).ino === statSync(`/proc/self/ns/${name}`).ino;
  } catch {
    return false;
  }
}
