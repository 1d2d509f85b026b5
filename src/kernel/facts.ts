import { accessSync, constants, readdirSync, readFileSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { parseCapabilityMask } from './capabilities.ts';
import { type CgroupFacts, cgroupFacts } from './facts-cgroup.ts';
import { type Arch, hostArch } from './syscalls.ts';

/** A range of subordinate ids (subuid(5)). */
export interface IdRange {
  readonly start: number;
  readonly count: number;
}

export interface KernelVersion {
  /** As uname(2) says: `6.1.0-28-amd64`. */
  readonly release: string;
  readonly major: number;
  readonly minor: number;
}

/** What this machine and this process can do, as far as files tell. Gathered once per process, never changed. */
export interface HostFacts {
  readonly kernel: KernelVersion;
  readonly arch: Arch;
  readonly uid: number;
  readonly euid: number;
  readonly egid: number;
  /** Numbers of capabilities(7). */
  readonly capabilities: { readonly effective: readonly number[]; readonly bounding: readonly number[] };
  readonly lastCapability: number;
  /** In a user namespace that is not the machine's first. */
  readonly inUserNamespace: boolean;
  /** Entries of /proc/self/ns: `mnt`, `net`, `pid`, `user`, `cgroup`, `time`, … */
  readonly namespaces: readonly string[];
  readonly cgroup: CgroupFacts;
  /** Types the kernel knows now; others may come as modules. */
  readonly filesystems: readonly string[];
  /** Whether an ordinary user may make user namespaces, and if not, why. */
  readonly userNamespaces: { readonly possible: boolean; readonly why?: string };
  /** kill_process, errno, user_notif, …; empty without seccomp filters. */
  readonly seccompActions: readonly string[];
  /** Security modules in force; unknown (empty) where securityfs is not mounted. */
  readonly lsms: readonly string[];
  readonly apparmor: boolean;
  readonly selinux: boolean;
  readonly ipv6: boolean;
}

/** Reads the facts: some twenty small files of /proc and /sys, well under a millisecond, no process, no network. */
export function hostFacts(): HostFacts {
  return gatherFacts(readText, {
    arch: hostArch(),
    uid: process.getuid?.() ?? 0,
    euid: process.geteuid?.() ?? 0,
    egid: process.getegid?.() ?? 0,
  });
}

/** The same from any source of texts; undefined for a file that is not there or can't be read. */
export function gatherFacts(
  read: (path: string) => string | undefined,
  process: { arch: Arch; uid: number; euid: number; egid: number },
): HostFacts {
  const text = (path: string): string => read(path) ?? '';
  const status = text('/proc/self/status');
  const lsms = text('/sys/kernel/security/lsm').trim();
  const selinux = read('/sys/fs/selinux/enforce') !== undefined;
  return {
    ...process,
    kernel: parseKernelRelease(text('/proc/sys/kernel/osrelease').trim()),
    capabilities: {
      effective: parseCapabilityMask(field(status, 'CapEff')),
      bounding: parseCapabilityMask(field(status, 'CapBnd')),
    },
    lastCapability: Number(text('/proc/sys/kernel/cap_last_cap').trim() || '40'),
    inUserNamespace: !/^\s*0\s+0\s+4294967295\s*$/.test(read('/proc/self/uid_map') ?? '0 0 4294967295'),
    namespaces: text('/proc/self/ns').split('\n').filter(Boolean),
    cgroup: cgroupFacts(text('/proc/self/mountinfo'), text('/proc/self/cgroup'), read),
    filesystems: parseFilesystems(text('/proc/filesystems')),
    userNamespaces: userNamespaces(read),
    seccompActions: text('/proc/sys/kernel/seccomp/actions_avail').split(/\s+/).filter(Boolean),
    lsms: lsms === '' ? [] : lsms.split(','),
    apparmor: text('/sys/module/apparmor/parameters/enabled').startsWith('Y'),
    selinux,
    ipv6: read('/proc/net/if_inet6') !== undefined && text('/proc/sys/net/ipv6/conf/all/disable_ipv6').trim() !== '1',
  };
}

/** Directories come back as the names in them, one a line. */
function readText(path: string): string | undefined {
  try {
    return path === '/proc/self/ns' ? readdirSync(path).join('\n') : readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

export function parseKernelRelease(release: string): KernelVersion {
  const match = /^(\d+)\.(\d+)/.exec(release);
  return { release, major: Number(match?.[1] ?? 0), minor: Number(match?.[2] ?? 0) };
}

/** True from `major.minor` on. */
export function kernelAtLeast(kernel: KernelVersion, major: number, minor: number): boolean {
  return kernel.major > major || (kernel.major === major && kernel.minor >= minor);
}

/** Names in /proc/filesystems. */
export function parseFilesystems(text: string): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.split('\t').at(-1) ?? '')
    .filter(Boolean);
}

/** The value of `name:` in a /proc/<pid>/status. */
function field(status: string, name: string): string {
  return new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? '';
}

function userNamespaces(read: (path: string) => string | undefined): HostFacts['userNamespaces'] {
  const value = (path: string): string | undefined => read(path)?.trim();
  const max = value('/proc/sys/user/max_user_namespaces');
  if (max === undefined) return { possible: false, why: 'the kernel has no user namespaces' };
  if (max === '0') return { possible: false, why: 'the sysctl user.max_user_namespaces is 0' };
  if (value('/proc/sys/kernel/unprivileged_userns_clone') === '0') {
    return { possible: false, why: 'the sysctl kernel.unprivileged_userns_clone is 0' };
  }
  if (value('/proc/sys/kernel/apparmor_restrict_unprivileged_userns') === '1') {
    return { possible: false, why: 'the sysctl kernel.apparmor_restrict_unprivileged_userns is 1' };
  }
  return { possible: true };
}

/** What an ordinary user's containers get their ids from. */
export interface SubordinateIds {
  readonly uids: readonly IdRange[];
  readonly gids: readonly IdRange[];
  /** Absolute paths of the set-uid helpers, where they are in PATH. */
  readonly newuidmap?: string;
  readonly newgidmap?: string;
}

/** Subordinate ids of this process's user. Not part of `hostFacts`: only user namespaces ask for it. */
export function subordinateIds(): SubordinateIds {
  const uid = process.getuid?.() ?? 0;
  let name = String(uid);
  try {
    name = userInfo().username;
  } catch {
    // A uid without an entry in passwd is only known by its number.
  }
  const newuidmap = findProgram('newuidmap');
  const newgidmap = findProgram('newgidmap');
  return {
    uids: parseSubIds(readText('/etc/subuid') ?? '', name, uid),
    gids: parseSubIds(readText('/etc/subgid') ?? '', name, uid),
    ...(newuidmap ? { newuidmap } : {}),
    ...(newgidmap ? { newgidmap } : {}),
  };
}

/** Ranges of `name` or `uid` in a text like /etc/subuid. */
export function parseSubIds(text: string, name: string, uid: number): readonly IdRange[] {
  const ranges: IdRange[] = [];
  for (const line of text.split('\n')) {
    const match = /^([^:#]+):(\d{1,10}):(\d{1,10})\s*$/.exec(line);
    if (!match || (match[1] !== name && match[1] !== String(uid))) continue;
    const [start, count] = [Number(match[2]), Number(match[3])];
    if (count > 0 && start + count <= 2 ** 32) ranges.push({ start, count });
  }
  return ranges;
}

/** The absolute path of an executable in PATH (a caller's own, if given) or the directories that set-uid helpers are in. */
export function findProgram(name: string, searched?: readonly string[]): string | undefined {
  const directories = [
    ...(searched ?? (process.env['PATH'] ?? '').split(':')),
    '/usr/bin',
    '/bin',
    '/usr/sbin',
    '/sbin',
  ];
  return directories
    .filter((directory) => directory.startsWith('/'))
    .map((directory) => join(directory, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return statSync(path).isFile();
      } catch {
        return false;
      }
    });
}
