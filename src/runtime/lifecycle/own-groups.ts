import { basename } from 'node:path';
import type { Cgroup } from '../../kernel/cgroup-driver.ts';
import type { HostFacts } from '../../kernel/facts.ts';
import { cgroupDirectory } from '../../kernel/facts-cgroup.ts';
import type { Spec } from '../../spec/runtime.ts';

/**
 * The directories that a container without a cgroup namespace sees of each hierarchy, by the name it is mounted under ('' for version 2): its own,
 * its caller's where it has none. Nothing with a namespace.
 */
export function ownGroups(
  spec: Spec,
  cgroup: Cgroup | undefined,
  { cgroup: { v1, v2 } }: HostFacts,
): Record<string, string> {
  const own: Record<string, string> = {};
  if (spec.linux?.namespaces?.some((n) => n.type === 'cgroup')) return own;
  const add = (name: string, directory: string | undefined) => {
    if (directory !== undefined) own[name] = directory;
  };
  if (v2) add('', cgroup?.directories[''] ?? cgroupDirectory(v2, v2.own));
  for (const mount of v1)
    add(
      basename(mount.mountPoint),
      cgroup?.directories[mount.controllers[0] ?? ''] ?? cgroupDirectory(mount, mount.own),
    );
  return own;
}
