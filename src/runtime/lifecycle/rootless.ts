/** What differs for a caller who is not the machine's root: who maps the IDs, which groups there are, what must be refused. */
import { readFileSync } from 'node:fs';
import { KeelsonError } from '../../ground/errors.ts';
import { capabilityNumber } from '../../kernel/capabilities.ts';
import { readText } from '../../kernel/cgroup.ts';
import { findProgram, type HostFacts } from '../../kernel/facts.ts';
import { parseOwnCgroups } from '../../kernel/facts-cgroup.ts';
import type { LinuxIdMapping, LinuxNamespaceType, LinuxResources, Process, Spec } from '../../spec/runtime.ts';
import type { IdMapper } from '../userns-steps.ts';

export interface Rootless {
  /** Not root, not even in a user namespace: containers need one of their own. */
  readonly user: boolean;
  /** The control groups are someone else's: those that were not asked for by path may be missing. */
  readonly cgroups: boolean;
}

/** `flag`: the value of --rootless. Root inside a user namespace has the machine's control groups only as far as they were delegated. */
export function rootlessOf(facts: HostFacts, flag: string | undefined): Rootless {
  const user = facts.euid !== 0;
  if (flag === undefined || flag === 'auto' || flag === '') return { user, cgroups: user || facts.inUserNamespace };
  if (flag !== 'true' && flag !== 'false')
    throw new KeelsonError('invalid-argument', `invalid value "${flag}" for flag --rootless: true, false or auto`);
  return { user, cgroups: flag === 'true' };
}

/** The facts with the groups that the caller is in: a planner has left its own. */
export function withCallersGroups(facts: HostFacts, caller: number): HostFacts {
  const own = parseOwnCgroups(readText(`/proc/${caller}/cgroup`) ?? '');
  const pathOf = (controllers: readonly string[]) =>
    own.find((line) => line.controllers.join() === controllers.join())?.path;
  const { v1, v2 } = facts.cgroup;
  return {
    ...facts,
    cgroup: {
      ...facts.cgroup,
      v1: v1.map((mount) => ({ ...mount, own: pathOf(mount.controllers) ?? mount.own })),
      ...(v2 && { v2: { ...v2, own: pathOf([]) ?? v2.own } }),
    },
  };
}

export function idMapperOf(facts: HostFacts): IdMapper {
  const may = (name: string) => facts.capabilities.effective.includes(capabilityNumber(name) as number);
  if (may('SETUID') && may('SETGID')) return { kind: 'direct' };
  return {
    kind: 'user',
    uid: facts.euid,
    gid: facts.egid,
    newuidmap: findProgram('newuidmap'),
    newgidmap: findProgram('newgidmap'),
  };
}

/** Refuses what an ordinary user can't have, before anything is made. */
export function checkRootless(spec: Spec): void {
  const user = spec.linux?.namespaces?.find((n) => n.type === 'user');
  if (!user) throw refuse('linux.namespaces', 'rootless container requires user namespaces');
  if (user.path !== undefined) return;
  const uids = spec.linux?.uidMappings ?? [];
  const gids = spec.linux?.gidMappings ?? [];
  if (gids.length === 0) throw refuse('linux.gidMappings', 'rootless containers requires at least one GID mapping');
  for (const [i, mount] of (spec.mounts ?? []).entries()) {
    for (const option of mount.options ?? []) {
      const [, kind, id] = /^([ug])id=(\d+)$/.exec(option) ?? [];
      if (kind === undefined || isMapped(kind === 'u' ? uids : gids, Number(id))) continue;
      throw refuse(`mounts[${i}].options`, `cannot specify ${option} mount option for rootless container: not mapped`);
    }
  }
}

function refuse(where: string, why: string): KeelsonError {
  return new KeelsonError('invalid-argument', `config.json: ${where}: ${why}`);
}

/** In the words of runc; the kernel would only say EINVAL. */
export function checkUser(
  { user }: Pick<Process, 'user'>,
  uids: readonly LinuxIdMapping[],
  gids: readonly LinuxIdMapping[],
): void {
  const unmapped = (kind: string, id: number) =>
    new KeelsonError(
      'invalid-argument',
      `unable to start container process: unable to setup user: cannot set${kind} to unmapped ${kind} ${id} in user namespace`,
    );
  if (gids.length > 0 && !isMapped(gids, user.gid)) throw unmapped('gid', user.gid);
  if (uids.length > 0 && !isMapped(uids, user.uid)) throw unmapped('uid', user.uid);
}

function isMapped(map: readonly LinuxIdMapping[], id: number): boolean {
  return map.some(({ containerID, size }) => id >= containerID && id < containerID + size);
}

/** The map of a process's user namespace, as this process sees it (user_namespaces(7)). */
export function mapOf(pid: number, file: 'uid_map' | 'gid_map'): LinuxIdMapping[] {
  return (readText(`/proc/${pid}/${file}`) ?? '')
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .flatMap(([containerID, hostID, size]) =>
      containerID === undefined || hostID === undefined || size === undefined ? [] : [{ containerID, hostID, size }],
    );
}

/** Whether the user namespace of a process has given up setgroups(2). */
export function hasNoGroups(pid: number | 'self'): boolean {
  try {
    return readFileSync(`/proc/${pid}/setgroups`, 'utf8').startsWith('deny');
  } catch {
    return false;
  }
}

/** The same of a user namespace that is joined: it is named by one of its processes. */
export function joinsWithoutGroups(spec: Spec): boolean {
  const path = spec.linux?.namespaces?.find((n) => n.type === 'user')?.path;
  const pid = /^\/proc\/(\d+)\/ns\/user$/.exec(path ?? '')?.[1];
  return pid !== undefined && hasNoGroups(Number(pid));
}

export function refuseGroups({ user }: Pick<Process, 'user'>): void {
  if (user.additionalGids?.length)
    throw new KeelsonError('unsupported', 'cannot set any additional groups in a rootless container');
}

/** Limits that nobody will keep, because there is no group to keep them. */
export function refuseLimits(resources: LinuxResources, unified: boolean): void {
  const { devices: _, ...limits } = resources;
  const set = (value: unknown): boolean =>
    typeof value === 'object' && value !== null
      ? Object.values(value).some(set)
      : value !== undefined && value !== false && value !== 0;
  const name = Object.entries(limits).find(([, value]) => set(value))?.[0];
  if (name === undefined) return;
  throw new KeelsonError(
    'unsupported',
    unified
      ? `rootless needs no limits + no cgrouppath when no permission is granted for cgroups (linux.resources.${name} is set)`
      : `cannot set ${name} limit: container could not join or create cgroup`,
  );
}

export function hasOwn(spec: Spec, type: LinuxNamespaceType): boolean {
  return spec.linux?.namespaces?.some((n) => n.type === type && n.path === undefined) ?? false;
}
