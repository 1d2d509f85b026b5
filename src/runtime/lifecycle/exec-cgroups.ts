/** Which control groups one more process of a container joins. */
import { KeelsonError } from '../../ground/errors.ts';
import type { Cgroup, ReadText } from '../../kernel/cgroup-driver.ts';
import { type CgroupFacts, cgroupDirectory } from '../../kernel/facts-cgroup.ts';

export interface GroupsToJoin {
  readonly directories: { path: string; writes: []; leaf: true }[];
  readonly cloneInto?: string;
}

/** Of version 2: the container's own group, and that of its first process in case the former takes no process any more. */
export interface MovedGroup {
  readonly own: string;
  readonly ofInit: string;
}

/** Groups below the container's own, by controller ('' for all). Throws `invalid-argument` for those that can't be meant. */
export function groupsToJoin(cgroup: Cgroup, below: Readonly<Record<string, string>>): GroupsToJoin {
  for (const controller of Object.keys(below)) {
    if (controller !== '' && !(controller in cgroup.directories))
      throw new KeelsonError('invalid-argument', `unknown controller ${controller} in SubCgroupPaths`);
  }
  const place = (controller: string, directory: string) => {
    const sub = below[controller] ?? below[''];
    return sub === undefined || sub === '/' ? directory : `${directory}/${sub.replace(/^\/+/, '')}`;
  };
  const paths = new Set(
    Object.entries(cgroup.directories).map(([controller, directory]) => place(controller, directory)),
  );
  const unified = cgroup.directories[''];
  return {
    directories: [...paths].map((path) => ({ path, writes: [], leaf: true })),
    ...(unified !== undefined && { cloneInto: place('', unified) }),
  };
}

/** When the first process has left the container's group of version 2, which may be gone or have no place for processes by now. */
export function movedGroup(
  cgroup: Cgroup,
  pid: number,
  { v2 }: Pick<CgroupFacts, 'v2'>,
  readText: ReadText,
): MovedGroup | undefined {
  const own = cgroup.directories[''];
  if (cgroup.version !== 2 || own === undefined || !v2) return undefined;
  const path = /^0::(.*)$/m.exec(readText(`/proc/${pid}/cgroup`) ?? '')?.[1];
  const ofInit = path === undefined ? undefined : cgroupDirectory(v2, path);
  return ofInit === undefined || ofInit === own ? undefined : { own, ofInit };
}
