/** /dev inside a container: nodes, links, and the host's nodes bind-mounted where mknod(2) is not allowed. */
import { makedev, S_IFBLK, S_IFCHR, S_IFIFO } from '../kernel/constants.ts';
import type { Value } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { LinuxDevice } from '../spec/runtime.ts';
import { attach, cloneHostTree } from './filesystem.ts';
import { ensureDirectory, ensureFile, noLinks } from './in-root.ts';

/** runtime-spec, config-linux.md, "Default Devices". */
export const defaultDevices: readonly LinuxDevice[] = [
  ['null', 3],
  ['zero', 5],
  ['full', 7],
  ['random', 8],
  ['urandom', 9],
].map(([name, minor]) => ({
  type: 'c',
  path: `/dev/${name}`,
  major: 1,
  minor: Number(minor),
  fileMode: 0o666,
  uid: 0,
  gid: 0,
}));

export const ttyDevice: LinuxDevice = {
  type: 'c',
  path: '/dev/tty',
  major: 5,
  minor: 0,
  fileMode: 0o666,
  uid: 0,
  gid: 0,
};

const links: readonly (readonly [from: string, to: string])[] = [
  ['fd', '/proc/self/fd'],
  ['stdin', '/proc/self/fd/0'],
  ['stdout', '/proc/self/fd/1'],
  ['stderr', '/proc/self/fd/2'],
  ['core', '/proc/kcore'],
  ['ptmx', 'pts/ptmx'],
];

const types: Readonly<Record<string, number>> = { c: S_IFCHR, u: S_IFCHR, b: S_IFBLK, p: S_IFIFO };

/**
 * Makes the nodes under `root`, and the links when /dev is a file system of the container's own. `dev` is the open /dev.
 * With `bind` the host's node of the same path is mounted instead.
 */
export function makeDevices(
  b: PlanBuilder,
  root: Value,
  dev: Value,
  devices: readonly LinuxDevice[],
  options: { bind: boolean; links: boolean },
): void {
  b.group('devices');
  // Nodes have their mode from the start: a change afterwards would follow a link that somebody has put in the node's place meanwhile.
  const mask = b.doing('making devices').sys('umask', [0]);
  for (const device of devices) {
    b.doing(`making the device ${device.path}`);
    const inDev = /^\/dev\/([^/]+)$/.exec(device.path)?.[1];
    if (options.bind) {
      const target = ensureFile(b, root, device.path);
      const node = cloneHostTree(b, device.path);
      attach(b, node, target);
      b.sys('close', [node]);
      b.sys('close', [target]);
      continue;
    }
    const slash = device.path.lastIndexOf('/');
    const parent = inDev ? dev : ensureDirectory(b, root, device.path.slice(0, slash) || '/', { resolve: noLinks });
    const name = device.path.slice(slash + 1);
    const mode = (types[device.type] ?? S_IFCHR) | 0;
    const number = device.type === 'p' ? 0n : makedev(device.major ?? 0, device.minor ?? 0);
    const permissions = (device.fileMode ?? 0o666) & 0o7777;
    // An existing node is left as it is.
    const exists = b.label();
    b.sys('mknodat', [parent, name, mode | permissions, number], { on: { EEXIST: exists } });
    if ((device.uid ?? 0) !== 0 || (device.gid ?? 0) !== 0) {
      b.sys('fchownat', [parent, name, device.uid ?? 0, device.gid ?? 0, 0x100]);
    }
    b.place(exists);
    if (!inDev) b.sys('close', [parent]);
  }
  b.sys('umask', [mask]);
  if (!options.links) return;
  b.doing('making the links of /dev');
  for (const [from, to] of links) b.sys('symlinkat', [to, dev, from], { on: { EEXIST: 'continue' } });
}
