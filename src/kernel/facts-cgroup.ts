import { join } from 'node:path';

/** One line of /proc/<pid>/mountinfo (proc_pid_mountinfo(5)). */
export interface MountInfo {
  readonly root: string;
  readonly mountPoint: string;
  readonly options: readonly string[];
  readonly type: string;
  readonly source: string;
  readonly superOptions: readonly string[];
}

export function parseMountInfo(text: string): readonly MountInfo[] {
  const mounts: MountInfo[] = [];
  for (const line of text.split('\n')) {
    const dash = line.indexOf(' - ');
    if (dash < 0) continue;
    const [, , , root = '', mountPoint = '', options = ''] = line.slice(0, dash).split(' ');
    const [type = '', source = '', superOptions = ''] = line.slice(dash + 3).split(' ');
    mounts.push({
      root: unescape(root),
      mountPoint: unescape(mountPoint),
      options: options.split(','),
      type,
      source: unescape(source),
      superOptions: superOptions.split(','),
    });
  }
  return mounts;
}

/** Space, tab, newline and backslash are written in octal. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** A mounted hierarchy of control groups. */
export interface CgroupMount {
  readonly mountPoint: string;
  /** The part of the hierarchy that is mounted there: `/` but for bind mounts and inside other containers. */
  readonly root: string;
  /** The cgroup this process is in, from the hierarchy's root. */
  readonly own: string;
}

export interface CgroupV1Mount extends CgroupMount {
  /** `['cpu', 'cpuacct']`, or `['name=systemd']`: what a mount of it is asked for with. */
  readonly controllers: readonly string[];
}

export interface CgroupV2Mount extends CgroupMount {
  /** What the topmost group here offers; empty in a hybrid set-up. */
  readonly controllers: readonly string[];
}

export interface CgroupFacts {
  /** `unified`: version 2 alone; `hybrid`: controllers in version 1, beside an empty version 2; `none`: nothing mounted. */
  readonly mode: 'unified' | 'hybrid' | 'legacy' | 'none';
  readonly v1: readonly CgroupV1Mount[];
  readonly v2?: CgroupV2Mount;
}

/** Lines of /proc/<pid>/cgroup: `4:memory:/a/b`, `0::/a/b`. */
export function parseOwnCgroups(text: string): readonly { controllers: readonly string[]; path: string }[] {
  return text
    .split('\n')
    .map((line) => /^(\d+):([^:]*):(.*)$/.exec(line))
    .filter((match) => match !== null)
    .map(([, , names = '', path = '']) => ({ controllers: names === '' ? [] : names.split(','), path }));
}

/** The layout, from the texts of /proc/self/mountinfo and /proc/self/cgroup; `read` gives a file's text, undefined if there is none. */
export function cgroupFacts(
  mountInfo: string,
  ownCgroups: string,
  read: (path: string) => string | undefined,
): CgroupFacts {
  // The whole file can be long on a busy host; the lines of interest are few.
  const mounts = parseMountInfo(
    mountInfo
      .split('\n')
      .filter((line) => line.includes(' - cgroup'))
      .join('\n'),
  );
  const own = parseOwnCgroups(ownCgroups);
  const v1: CgroupV1Mount[] = [];
  for (const { controllers, path } of own) {
    if (controllers.length === 0) continue;
    const found = mounts.find((m) => m.type === 'cgroup' && controllers.every((c) => m.superOptions.includes(c)));
    if (found) v1.push({ controllers, own: path, mountPoint: found.mountPoint, root: found.root });
  }
  const unified = mounts.filter((m) => m.type === 'cgroup2');
  const mount = unified.find((m) => m.mountPoint === '/sys/fs/cgroup') ?? unified[0];
  const v2 = mount && {
    mountPoint: mount.mountPoint,
    root: mount.root,
    own: own.find((line) => line.controllers.length === 0)?.path ?? '/',
    controllers: words(read(join(mount.mountPoint, 'cgroup.controllers'))),
  };
  const inV1 = v1.some((m) => m.controllers.some((c) => !c.startsWith('name=')));
  const mode = inV1 ? (v2 ? 'hybrid' : 'legacy') : v2 ? 'unified' : 'none';
  return v2 ? { mode, v1, v2 } : { mode, v1 };
}

/** The directory of a cgroup, undefined when it lies outside of what is mounted. */
export function cgroupDirectory(mount: CgroupMount, path: string): string | undefined {
  if (mount.root === '/') return join(mount.mountPoint, path);
  if (path === mount.root) return mount.mountPoint;
  return path.startsWith(`${mount.root}/`) ? join(mount.mountPoint, path.slice(mount.root.length)) : undefined;
}

function words(text: string | undefined): readonly string[] {
  return text?.split(/\s+/).filter((word) => word !== '') ?? [];
}
