import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

import { cgroupPath, readText } from './cgroup.ts';
import { type HostFacts, hostFacts, type SubordinateIds, subordinateIds } from './facts.ts';

/** Whether the kernel has a part: in force now, as a module it can load, not at all, or not to be found out from here. */
export type Presence = 'yes' | 'module' | 'no' | 'unknown';

/** More facts than a container's start asks for. */
export interface DoctorFacts extends HostFacts {
  readonly subordinateIds: SubordinateIds;
  /** Parts of the kernel by the name of their module: `overlay`, `nf_tables`, `bridge`, `veth`. */
  readonly modules: Readonly<Record<string, Presence>>;
  readonly ipForward: { readonly v4: boolean; readonly v6: boolean };
  /** Where this user's containers get their control groups; undefined for nowhere. */
  readonly cgroupParent?: string;
  /** Swap can be limited. */
  readonly swapLimit: boolean;
  /** Controllers of version 2 that the group of `cgroupParent` offers, or those mounted in version 1. */
  readonly controllers: readonly string[];
}

/** Gathers them: some large files, tens of milliseconds at the most. */
export function doctorFacts(): DoctorFacts {
  const facts = hostFacts();
  const own = cgroupPath({ facts: facts.cgroup, rootless: facts.euid !== 0, id: 'x' });
  const v1 = facts.cgroup.v1.flatMap((mount) => mount.controllers);
  const { v2 } = facts.cgroup;
  const offered = v2 && own ? readText(join(v2.mountPoint, own, '../..', 'cgroup.controllers')) : undefined;
  const memory = facts.cgroup.v1.find((mount) => mount.controllers.includes('memory'));
  return {
    ...facts,
    subordinateIds: subordinateIds(),
    modules: modulePresence(facts.kernel.release, facts.filesystems, ['overlay', 'nf_tables', 'bridge', 'veth']),
    ipForward: {
      v4: readText('/proc/sys/net/ipv4/ip_forward')?.trim() === '1',
      v6: readText('/proc/sys/net/ipv6/conf/all/forwarding')?.trim() === '1',
    },
    ...(own === undefined ? {} : { cgroupParent: join(own, '..') }),
    swapLimit: memory
      ? existsSync(join(memory.mountPoint, 'memory.memsw.limit_in_bytes'))
      : /^Swap/m.test(readText('/proc/meminfo') ?? ''),
    controllers:
      facts.cgroup.mode === 'unified'
        ? (offered?.split(/\s+/).filter(Boolean) ?? v2?.controllers ?? [])
        : v1.filter((name) => !name.startsWith('name=')),
  };
}

/** Names of options in a kernel's configuration for the modules that are asked for. */
const options: Readonly<Record<string, string>> = {
  overlay: 'CONFIG_OVERLAY_FS',
  nf_tables: 'CONFIG_NF_TABLES',
  bridge: 'CONFIG_BRIDGE',
  veth: 'CONFIG_VETH',
};

function modulePresence(
  release: string,
  filesystems: readonly string[],
  names: readonly string[],
): Record<string, Presence> {
  const config = kernelConfig(release);
  const folder = join('/lib/modules', release);
  const loadable = readText(join(folder, 'modules.dep'));
  const builtin = readText(join(folder, 'modules.builtin'));
  const result: Record<string, Presence> = {};
  for (const name of names) {
    result[name] = presence(name, {
      inForce: filesystems.includes(name) || existsSync(join('/sys/module', name)),
      config,
      loadable,
      builtin,
    });
  }
  return result;
}

/** Pure: what the kernel's own files say about a module. Absent texts are unknown. */
export function presence(
  name: string,
  from: { inForce: boolean; config: string | undefined; loadable: string | undefined; builtin: string | undefined },
): Presence {
  if (from.inForce) return 'yes';
  // Module files are named with - or _.
  const file = new RegExp(`/${name.replaceAll('_', '[-_]')}\\.ko`);
  if (from.builtin !== undefined && file.test(from.builtin)) return 'yes';
  if (from.loadable !== undefined && file.test(from.loadable)) return 'module';
  const option =
    from.config === undefined ? undefined : new RegExp(`^${options[name] ?? name}=([ym])$`, 'm').exec(from.config)?.[1];
  if (option === 'y') return 'yes';
  // A module that is configured but whose file is not there can't be loaded.
  if (from.config !== undefined) return option === 'm' && from.loadable === undefined ? 'unknown' : 'no';
  return from.loadable === undefined ? 'unknown' : 'no';
}

function kernelConfig(release: string): string | undefined {
  const own = '/proc/config.gz';
  if (!existsSync(own)) return readText(`/boot/config-${release}`);
  try {
    return gunzipSync(readFileSync(own), { maxOutputLength: 1 << 22 }).toString('latin1');
  } catch {
    return undefined;
  }
}
