/** A config as its reader meant it: what callers of runc and crun may leave out or put in other words. */
import { isAbsolute, resolve } from 'node:path';
import { KeelsonError } from '../../ground/errors.ts';
import type { HostFacts, IdRange, SubordinateIds } from '../../kernel/facts.ts';
import type { LinuxIdMapping, Mount, Spec } from '../../spec/runtime.ts';
import { isBind } from '../mount-sources.ts';
import { hasOwn } from './rootless.ts';

/** Sources of bind mounts may be relative to the bundle (config.md#mounts). A destination that names the root file system is meant inside it, as runc has it. */
export function withPlainMounts(spec: Spec, bundle: string, rootfs: string): Spec {
  if (!spec.mounts) return spec;
  const mounts = spec.mounts.map((given, i) => {
    const mount = withMapping(given, `mounts[${i}]`, spec);
    const { source, destination } = mount;
    const relative = isBind(mount) && source !== undefined && source !== '' && !isAbsolute(source);
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

/** `idmap=uids=0-1-10#10-11-10;gids=0-1-10`, as crun has it; with `@` the second number is one of the container's own. */
function withMapping(mount: Mount, where: string, { linux = {} }: Spec): Mount {
  const found = mount.options?.findIndex((word) => /^r?idmap=/.test(word)) ?? -1;
  if (found < 0) return mount;
  const [, word = '', text = ''] = /^(r?idmap)=(.*)$/.exec(mount.options?.[found] ?? '') ?? [];
  const wrong = () =>
    new KeelsonError(
      'invalid-argument',
      `config.json: ${where}.options[${found}]: ${JSON.stringify(text)} is not of the form uids=0-1-10#10-11-10;gids=0-1-10 (crun(1), idmapped mounts)`,
    );
  const mappings: Record<string, LinuxIdMapping[]> = { uids: [], gids: [] };
  for (const part of text.split(';').filter(Boolean)) {
    const [, kind = '', list = ''] = /^([ug]ids)=(.+)$/.exec(part) ?? [];
    const own = kind === 'uids' ? linux.uidMappings : linux.gidMappings;
    for (const range of list.split('#')) {
      const [, relative, ...numbers] = /^(@?)(\d+)-(\d+)-(\d+)$/.exec(range) ?? [];
      const [containerID = -1, id = -1, size = 0] = numbers.map(Number);
      if (size < 1 || [containerID, id, size].some((n) => n > 0xffffffff)) throw wrong();
      const around = relative ? own?.find((m) => id >= m.containerID && id < m.containerID + m.size) : undefined;
      const hostID = around ? around.hostID + id - around.containerID : id;
      mappings[kind]?.push({ containerID, hostID, size });
    }
  }
  const { uids = [], gids = [] } = mappings;
  if (uids.length === 0 || gids.length === 0) throw wrong();
  return { ...mount, options: mount.options?.with(found, word) ?? [], uidMappings: uids, gidMappings: gids };
}

/** A new user namespace of root's without maps has root as the container's user, and root's subordinate IDs for all others, as with crun. */
export function withDefaultMaps(spec: Spec, facts: HostFacts, subordinate: () => SubordinateIds): Spec {
  const { linux } = spec;
  if (facts.euid !== 0 || !hasOwn(spec, 'user') || linux?.uidMappings?.length || linux?.gidMappings?.length)
    return spec;
  const { uids, gids } = subordinate();
  const { uid = 0, gid = 0 } = spec.process?.user ?? {};
  return {
    ...spec,
    linux: { ...linux, uidMappings: mapsOf(uid, facts.euid, uids), gidMappings: mapsOf(gid, facts.egid, gids) },
  };
}

function mapsOf(containerID: number, hostID: number, [range]: readonly IdRange[]): LinuxIdMapping[] {
  const own = { containerID, hostID, size: 1 };
  if (!range) return [own];
  const below = Math.min(containerID, range.count);
  const above = range.count - below;
  return [
    ...(below > 0 ? [{ containerID: 0, hostID: range.start, size: below }] : []),
    own,
    ...(above > 0 ? [{ containerID: containerID + 1, hostID: range.start + below, size: above }] : []),
  ];
}
