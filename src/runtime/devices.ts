/** /dev inside a container: nodes, links, and the host's nodes bind-mounted where mknod(2) is not allowed. */
import {
  AT_SYMLINK_NOFOLLOW,
  makedev,
  MNT_DETACH,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
} from '../kernel/constants.ts';
import type { Reg, Value } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Linux, LinuxDevice, LinuxIdMapping } from '../spec/runtime.ts';
import { attach, cloneHostTree, cloneTree, makeFilesystem } from './filesystem.ts';
import { awaitMessage } from './handshake.ts';
import { ensureDirectory, ensureFile, noLinks } from './in-root.ts';
import { placeOf } from './mount-places.ts';
import { sendDescriptor } from './stdio.ts';

/** runtime-spec, config-linux.md, "Default Devices". */
const defaultDevices: readonly LinuxDevice[] = [
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

const ttyDevice: LinuxDevice = {
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

export interface DeviceOptions {
  /** Where mknod(2) is not allowed: the host's node of the same path is mounted, or one of `nodes`, which the executor has made. */
  readonly bind: boolean;
  readonly nodes?: () => Reg;
}

/** Makes the nodes under `root`, and the links of /dev. `dev` is the open /dev. */
export function makeDevices(
  b: PlanBuilder,
  root: Reg,
  dev: Value,
  devices: readonly LinuxDevice[],
  { bind, nodes }: DeviceOptions,
): void {
  b.group('devices').doing('making devices');
  if (nodes) mountNodes(b, root, nodes(), devices);
  else if (bind) for (const device of devices) mountNode(b, root, device, cloneHostTree(b, device.path));
  else makeNodes(b, root, dev, devices);
  b.doing('making the links of /dev');
  for (const [from, to] of links) b.sys('symlinkat', [to, dev, from], { on: { EEXIST: 'continue' } });
}

function makeNodes(b: PlanBuilder, root: Reg, dev: Value, devices: readonly LinuxDevice[]): void {
  // Nodes have their mode from the start: a change afterwards would follow a link that somebody has put in the node's place meanwhile.
  const mask = b.sys('umask', [0]);
  for (const device of devices) {
    const path = placeOf(device.path);
    b.doing(`making the device ${path}`);
    const slash = path.lastIndexOf('/');
    const inDev = path.slice(0, slash) === '/dev';
    const parent = inDev ? dev : ensureDirectory(b, root, path.slice(0, slash) || '/', { resolve: noLinks });
    makeNode(b, parent, path.slice(slash + 1), device, { uid: device.uid ?? 0, gid: device.gid ?? 0 });
    if (!inDev) b.sys('close', [parent]);
  }
  b.sys('umask', [mask]);
}

/** An existing node is left as it is. */
function makeNode(
  b: PlanBuilder,
  parent: Value,
  name: string,
  device: LinuxDevice,
  { uid, gid }: { uid: number; gid: number },
): void {
  const type = types[device.type] ?? S_IFCHR;
  const number = device.type === 'p' ? 0n : makedev(device.major ?? 0, device.minor ?? 0);
  const permissions = (device.fileMode ?? 0o666) & 0o7777;
  const exists = b.label();
  b.sys('mknodat', [parent, name, type | permissions, number], { on: { EEXIST: exists } });
  if (uid !== 0 || gid !== 0) b.sys('fchownat', [parent, name, uid, gid, AT_SYMLINK_NOFOLLOW]);
  b.place(exists);
}

function mountNode(b: PlanBuilder, root: Reg, device: LinuxDevice, node: Reg): void {
  b.doing(`making the device ${device.path}`);
  const target = ensureFile(b, root, placeOf(device.path));
  attach(b, node, target);
  b.sys('close', [node]);
  b.sys('close', [target]);
}

/** In the first process: copies of single files can be had of what is attached, so the nodes lie on the root for a moment. */
function mountNodes(b: PlanBuilder, root: Reg, tree: Reg, devices: readonly LinuxDevice[]): void {
  attach(b, tree, root);
  const nodes = devices.map((device, i) => ({ device, node: cloneTree(b, tree, String(i)) }));
  b.sys('fchdir', [tree]);
  b.sys('umount2', ['.', MNT_DETACH]);
  b.sys('fchdir', [root]);
  b.sys('close', [tree]);
  for (const { device, node } of nodes) mountNode(b, root, device, node);
}

/**
 * In the executor: nodes for a container in a user namespace, which could make none that work (user_namespaces(7)), in a file system that belongs
 * to the host; owned as the container's maps have it. Their names are their places in the list.
 */
export function sendNodes(
  b: PlanBuilder,
  devices: readonly LinuxDevice[],
  { uidMappings = [], gidMappings = [] }: Linux,
  process: { readonly report: Reg },
  link: { readonly parent: Reg },
): void {
  awaitMessage(b, link.parent, process.report, 'waiting to make devices');
  b.group('devices').doing('making devices');
  const attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  const tree = makeFilesystem(b, 'tmpfs', ['source=devices', 'mode=755'], attributes);
  const mask = b.sys('umask', [0]);
  for (const [i, device] of devices.entries()) {
    b.doing(`making the device ${device.path}`);
    const owner = { uid: hostId(uidMappings, device.uid ?? 0), gid: hostId(gidMappings, device.gid ?? 0) };
    makeNode(b, tree, String(i), device, owner);
  }
  b.sys('umask', [mask]);
  sendDescriptor(b, link.parent, tree);
  b.sys('close', [tree]);
}

/** An ID that the container doesn't have belongs to nobody there, as all of the host's do. */
function hostId(mappings: readonly LinuxIdMapping[], id: number): number {
  const mapping = mappings.find((m) => id >= m.containerID && id < m.containerID + m.size);
  return mapping ? mapping.hostID + id - mapping.containerID : 0;
}

/** Those that every container has, and the config's own, which count where both have a path; /dev/ptmx is always the link to its own devpts. */
export function allDevices(own: readonly LinuxDevice[] = []): readonly LinuxDevice[] {
  const places = new Set(own.map((device) => placeOf(device.path)));
  return [...[...defaultDevices, ttyDevice].filter((device) => !places.has(device.path)), ...own].filter(
    (device) => placeOf(device.path) !== '/dev/ptmx',
  );
}
