/**
 * Bind mounts that the executor opens for a container, one after the other, when the container's first process asks for them: a process of a user
 * namespace may not see a source that its user may not, and may not map IDs (mount_setattr(2), "ID-mapped mounts"). The executor does it in the
 * process's mount namespace, so that a source may lie in an earlier mount.
 */
import { CLONE_NEWNS, CLONE_NEWUSER, MOUNT_ATTR_IDMAP, O_PATH, O_RDONLY, openFlags } from '../kernel/constants.ts';
import { parseMountOptions } from '../kernel/mount-flags.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Mount } from '../spec/runtime.ts';
import { openSource } from './bind-mounts.ts';
import { setAttributes } from './filesystem.ts';
import type { FirstProcess } from './first-process.ts';
import { awaitMessage, type Handshake } from './handshake.ts';
import { openHost } from './in-root.ts';
import { pipe, receiveDescriptor, sendDescriptor } from './stdio.ts';
import { mapIds, openOfProcess } from './userns-steps.ts';

/** Those that this is needed for. */
export function sourcesOfExecutor(mounts: readonly Mount[], userNamespace: boolean): readonly Mount[] {
  return mounts.filter((mount) => {
    const options = parseMountOptions(mount.options ?? []);
    return isBind(mount) && !options.remount && !options.copySymlink && (userNamespace || isMapped(mount));
  });
}

export function isBind(mount: Mount): boolean {
  return mount.type === 'bind' || (mount.options ?? []).some((word) => word === 'bind' || word === 'rbind');
}

export function isMapped(mount: Mount): boolean {
  const { idmap } = parseMountOptions(mount.options ?? []);
  return idmap !== undefined || (mount.uidMappings?.length ?? 0) > 0;
}

/** In the first process. */
export function receiveSource(b: PlanBuilder, link: Handshake['link']): Reg {
  b.write(link.child, 'm');
  const there = b.label();
  const { received, fd } = receiveDescriptor(b, link.child);
  b.branch(received, '>=', 1, there);
  b.fail('ECONNABORTED', 'the executor went away');
  b.place(there);
  return fd;
}

/** In the executor, which comes back to where it was. */
export function sendSources(
  b: PlanBuilder,
  mounts: readonly Mount[],
  process: FirstProcess,
  link: Handshake['link'],
): void {
  if (mounts.length === 0) return;
  const { O_DIRECTORY } = openFlags(b.arch);
  b.group('root file system').doing('preparing to open the sources of mounts');
  const maps = new Map<string, Reg>();
  const mapOf = (mount: Mount): Reg => {
    const key = JSON.stringify([mount.uidMappings, mount.gidMappings]);
    const known = maps.get(key);
    const map =
      known ?? (mount.uidMappings?.length ? newMap(b, mount) : openOfProcess(b, process.pid, 'ns/user', O_RDONLY));
    maps.set(key, map);
    return map;
  };
  for (const mount of mounts) if (isMapped(mount)) mapOf(mount);
  const here = openHost(b, '/proc/self/ns/mnt', O_RDONLY);
  const [root, cwd] = ['/', '.'].map((path) => openHost(b, path, O_PATH | O_DIRECTORY)) as [Reg, Reg];
  for (const mount of mounts) {
    const doing = `mounting ${mount.source ?? ''} on ${mount.destination}`;
    const options = parseMountOptions(mount.options ?? []);
    awaitMessage(b, link.parent, process.report, doing);
    b.group('root file system').doing(doing);
    b.sys('setns', [process.pidfd, CLONE_NEWNS]);
    const tree = openSource(b, mount, options);
    b.sys('setns', [here, CLONE_NEWNS]);
    if (isMapped(mount)) {
      setAttributes(b, tree, { set: MOUNT_ATTR_IDMAP, userns: mapOf(mount), recursive: options.idmap === 'tree' });
    }
    sendDescriptor(b, link.parent, tree);
    b.sys('close', [tree]);
  }
  // With the mount namespace went the root and the working directory.
  b.doing('coming back from the container');
  b.sys('fchdir', [root]);
  b.sys('chroot', ['.']);
  b.sys('fchdir', [cwd]);
  for (const fd of [root, cwd, here, ...maps.values()]) b.sys('close', [fd]);
}

/** A user namespace that nobody is in: kept by its descriptor, for the sake of its maps. */
function newMap(b: PlanBuilder, { uidMappings = [], gidMappings = [], destination }: Mount): Reg {
  b.doing(`mapping the IDs of ${destination}`);
  const end = pipe(b, 'end');
  const helper = b.clone({ flags: CLONE_NEWUSER, name: 'map', pidfd: false }, () => {
    b.sys('close', [end.write]);
    b.sys('read', [end.read, b.blob(1), 1]);
  });
  b.sys('close', [end.read]);
  mapIds(b, helper.pid, uidMappings, gidMappings, { kind: 'direct' });
  const namespace = openOfProcess(b, helper.pid, 'ns/user', O_RDONLY);
  b.sys('close', [end.write]);
  b.await(helper.report);
  b.sys('wait4', [helper.pid, 0, 0, 0]);
  return namespace;
}
