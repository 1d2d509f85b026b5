/** Shares of cache and memory bandwidth (runtime-spec, config-linux.md#intelrdt; Documentation/filesystems/resctrl.rst). */
import { readText } from '../kernel/cgroup.ts';
import { AT_FDCWD, O_CLOEXEC, O_WRONLY } from '../kernel/constants.ts';
import { parseMountInfo } from '../kernel/facts-cgroup.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { LinuxIntelRdt } from '../spec/runtime.ts';

/** Where resctrl is mounted; undefined on a machine without it. */
export function resctrlMount(): string | undefined {
  return parseMountInfo(readText('/proc/self/mountinfo') ?? '').find(({ type }) => type === 'resctrl')?.mountPoint;
}

export interface RdtGroup {
  readonly directory: string;
  /** Lines of `schemata`. */
  readonly schemata: readonly string[];
  /** Within the group, where one's use is counted. */
  readonly monitor?: string;
  /** What goes with the container. A class that has a name stays, as others may share it. */
  readonly own: readonly string[];
}

/** `/` is the class of everyone who has no other; without a name the container's own is meant. */
export function rdtGroup(mount: string, id: string, rdt: LinuxIntelRdt): RdtGroup {
  const { closID, l3CacheSchema, memBwSchema } = rdt;
  const directory = closID === '/' ? mount : `${mount}/${closID ?? id}`;
  const schemata = [...(rdt.schemata ?? []), l3CacheSchema, memBwSchema].filter((line) => line !== undefined);
  const monitor = rdt.enableMonitoring ? `${directory}/mon_groups/${id}` : undefined;
  return {
    directory,
    schemata,
    ...(monitor !== undefined && { monitor }),
    own: [...(monitor === undefined ? [] : [monitor]), ...(closID === undefined ? [directory] : [])],
  };
}

/** In the executor, before the process goes on: with it go all its children. */
export function joinRdtGroup(b: PlanBuilder, { directory, schemata, monitor }: RdtGroup, pid: Reg): void {
  b.group('cgroup').doing(`making the resctrl group ${directory}`);
  const make = (path: string) => b.sys('mkdirat', [AT_FDCWD, path, 0o755], { on: { EEXIST: 'continue' } });
  make(directory);
  for (const line of schemata) {
    b.doing(`writing ${JSON.stringify(line)} to ${directory}/schemata`);
    const fd = b.sys('openat', [AT_FDCWD, `${directory}/schemata`, O_WRONLY | O_CLOEXEC]);
    b.write(fd, `${line}\n`);
    b.sys('close', [fd]);
  }
  if (monitor !== undefined) make(monitor);
  const digits = b.blob(24, '<pid>');
  const size = b.format(digits, pid);
  for (const group of monitor === undefined ? [directory] : [directory, monitor]) {
    b.doing(`joining the resctrl group ${group}`);
    const fd = b.sys('openat', [AT_FDCWD, `${group}/tasks`, O_WRONLY | O_CLOEXEC]);
    b.write(fd, digits, { size });
    b.sys('close', [fd]);
  }
}
