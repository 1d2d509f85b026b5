/** Where mounts may lie, and what mounting needs to know of the container and its host. */
import { posix } from 'node:path';
import { KeelsonError } from '../ground/errors.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Mount } from '../spec/runtime.ts';
import type { CgroupView } from './cgroup-mounts.ts';

/** What the kernel lets this container mount, and where control groups are. */
export interface MountFacts {
  /** In a user namespace: /sys of a foreign network namespace can only be bind-mounted. */
  readonly userNamespace: boolean;
  /** `joined`: it may belong to another user namespace. */
  readonly ownNetwork: boolean | 'joined';
  readonly ownPids: boolean;
  readonly cgroup: CgroupView;
  /** Of sources that are only made when the container starts, for a plan that is looked at before; undefined for others. */
  readonly sourceIsDirectory?: (source: string) => boolean | undefined;
  /** A dangling link on the way to a mount point is followed: the planner answers questions. */
  readonly followDangling?: boolean;
  /** The detached mount of a source that the executor opens; see mount-sources.ts. */
  readonly fromExecutor?: (mount: Mount) => Reg | undefined;
  /** For what is mounted with data of its own: `context="…"`. */
  readonly context?: string;
}

/** A destination as an absolute path without anything superfluous; a relative one counts from the root. */
export function placeOf(destination: string): string {
  const place = posix.normalize(`/${destination}`);
  return place.length > 1 && place.endsWith('/') ? place.slice(0, -1) : place;
}

/** statfs(2). */
export const procMagic = 0x9fa0;

/** Files of procfs that others may lie over: they show a container what is its own (lxcfs). */
const coverable = new Set([
  '/proc/cpuinfo',
  '/proc/diskstats',
  '/proc/meminfo',
  '/proc/stat',
  '/proc/swaps',
  '/proc/uptime',
  '/proc/loadavg',
  '/proc/slabinfo',
  '/proc/net/dev',
  '/proc/sys/kernel/ns_last_pid',
  '/proc/sys/crypto/fips_enabled',
]);

/** Before anything is mounted: what a config says openly. */
export function checkPlace(mount: Mount, bind: boolean): void {
  const place = placeOf(mount.destination);
  if (place === '/proc' && !bind && mount.type !== 'proc') {
    throw new KeelsonError(
      'invalid-argument',
      `mounting ${mount.type} on /proc: "/proc" cannot be mounted because it is not of type proc`,
    );
  }
  if (place.startsWith('/proc/') && !coverable.has(place)) throw insideProc(mount, place);
}

function insideProc(mount: Mount, place: string): KeelsonError {
  const what = mount.source ?? mount.type ?? '';
  return new KeelsonError(
    'invalid-argument',
    `mounting ${what} on ${mount.destination}: ${JSON.stringify(place)} cannot be mounted because it is inside /proc`,
  );
}

/** The same of where links have led: what lies in procfs may not be covered (CVE-2019-16884). */
export function refuseProc(b: PlanBuilder, target: Reg, place: string): void {
  if (place === '/' || /^\/proc(\/|$)/.test(place)) return;
  const fine = b.label();
  const statfs = b.blob(120, 'struct statfs');
  b.sys('fstatfs', [target, statfs]);
  b.branch(b.peek(statfs, 8, 'type'), '!=', procMagic, fine);
  b.fail('EPERM', `mounting on ${place}: it cannot be mounted because it is inside /proc`);
  b.place(fine);
}
