/** The kernel's names for bits and numbers in arguments, for showing plans: from the headers in /usr/include. */
export type Words = readonly (readonly [name: string, value: bigint])[];

const words = (table: Readonly<Record<string, number>>): Words =>
  Object.entries(table).map(([name, value]) => [name, BigInt(value)]);

const open = {
  O_WRONLY: 0o1,
  O_RDWR: 0o2,
  O_CREAT: 0o100,
  O_EXCL: 0o200,
  O_NOCTTY: 0o400,
  O_TRUNC: 0o1000,
  O_APPEND: 0o2000,
  O_NONBLOCK: 0o4000,
  O_CLOEXEC: 0o2000000,
  O_PATH: 0o10000000,
};

/** O_DIRECTORY and O_NOFOLLOW are the only ones here that differ between the two. */
export const openWords: Readonly<Record<'x86_64' | 'aarch64', Words>> = {
  x86_64: words({ ...open, O_DIRECTORY: 0o200000, O_NOFOLLOW: 0o400000 }),
  aarch64: words({ ...open, O_DIRECTORY: 0o40000, O_NOFOLLOW: 0o100000 }),
};

export const cloneWords: Words = words({
  CLONE_NEWTIME: 0x80,
  CLONE_VM: 0x100,
  CLONE_PIDFD: 0x1000,
  CLONE_VFORK: 0x4000,
  CLONE_PARENT: 0x8000,
  CLONE_NEWNS: 0x20000,
  CLONE_NEWCGROUP: 0x2000000,
  CLONE_NEWUTS: 0x4000000,
  CLONE_NEWIPC: 0x8000000,
  CLONE_NEWUSER: 0x10000000,
  CLONE_NEWPID: 0x20000000,
  CLONE_NEWNET: 0x40000000,
  CLONE_INTO_CGROUP: 0x200000000,
});

export const mountWords: Words = words({
  MS_RDONLY: 1,
  MS_NOSUID: 2,
  MS_NODEV: 4,
  MS_NOEXEC: 8,
  MS_REMOUNT: 32,
  MS_BIND: 4096,
  MS_MOVE: 8192,
  MS_REC: 16384,
  MS_UNBINDABLE: 1 << 17,
  MS_PRIVATE: 1 << 18,
  MS_SLAVE: 1 << 19,
  MS_SHARED: 1 << 20,
});

export const umountWords: Words = words({ MNT_FORCE: 1, MNT_DETACH: 2, MNT_EXPIRE: 4, UMOUNT_NOFOLLOW: 8 });
export const fsopenWords: Words = words({ FSOPEN_CLOEXEC: 1 });
export const fsmountWords: Words = words({ FSMOUNT_CLOEXEC: 1 });
export const mountAttributeWords: Words = words({
  MOUNT_ATTR_RDONLY: 1,
  MOUNT_ATTR_NOSUID: 2,
  MOUNT_ATTR_NODEV: 4,
  MOUNT_ATTR_NOEXEC: 8,
  MOUNT_ATTR_NOATIME: 0x10,
  MOUNT_ATTR_STRICTATIME: 0x20,
  MOUNT_ATTR_NODIRATIME: 0x80,
  MOUNT_ATTR_IDMAP: 0x100000,
  MOUNT_ATTR_NOSYMFOLLOW: 0x200000,
});
export const moveMountWords: Words = words({
  MOVE_MOUNT_F_SYMLINKS: 1,
  MOVE_MOUNT_F_AUTOMOUNTS: 2,
  MOVE_MOUNT_F_EMPTY_PATH: 4,
  MOVE_MOUNT_T_SYMLINKS: 0x10,
  MOVE_MOUNT_T_AUTOMOUNTS: 0x20,
  MOVE_MOUNT_T_EMPTY_PATH: 0x40,
});
export const atWords: Words = words({
  AT_SYMLINK_NOFOLLOW: 0x100,
  AT_REMOVEDIR: 0x200,
  AT_NO_AUTOMOUNT: 0x800,
  AT_EMPTY_PATH: 0x1000,
  AT_RECURSIVE: 0x8000,
});
export const openTreeWords: Words = [...words({ OPEN_TREE_CLONE: 1, OPEN_TREE_CLOEXEC: 0o2000000 }), ...atWords];
export const closeRangeWords: Words = words({ CLOSE_RANGE_UNSHARE: 2, CLOSE_RANGE_CLOEXEC: 4 });
export const seccompFlagWords: Words = words({
  SECCOMP_FILTER_FLAG_TSYNC: 1,
  SECCOMP_FILTER_FLAG_LOG: 2,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW: 4,
  SECCOMP_FILTER_FLAG_NEW_LISTENER: 8,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: 32,
});
export const socketTypeWords: Words = words({ SOCK_NONBLOCK: 0o4000, SOCK_CLOEXEC: 0o2000000 });

/** Numbers that have a name each. */
export const named = {
  fsconfig: [
    'FSCONFIG_SET_FLAG',
    'FSCONFIG_SET_STRING',
    'FSCONFIG_SET_BINARY',
    'FSCONFIG_SET_PATH',
    'FSCONFIG_SET_PATH_EMPTY',
    'FSCONFIG_SET_FD',
    'FSCONFIG_CMD_CREATE',
    'FSCONFIG_CMD_RECONFIGURE',
    'FSCONFIG_CMD_CREATE_EXCL',
  ],
  seccomp: ['SECCOMP_SET_MODE_STRICT', 'SECCOMP_SET_MODE_FILTER'],
  family: { 1: 'AF_UNIX', 2: 'AF_INET', 10: 'AF_INET6', 16: 'AF_NETLINK' },
  socket: { 1: 'SOCK_STREAM', 2: 'SOCK_DGRAM', 3: 'SOCK_RAW', 5: 'SOCK_SEQPACKET' },
  fcntl: { 1: 'F_GETFD', 2: 'F_SETFD', 3: 'F_GETFL', 4: 'F_SETFL', 1030: 'F_DUPFD_CLOEXEC', 1033: 'F_ADD_SEALS' },
  prctl: {
    1: 'PR_SET_PDEATHSIG',
    4: 'PR_SET_DUMPABLE',
    8: 'PR_SET_KEEPCAPS',
    15: 'PR_SET_NAME',
    22: 'PR_SET_SECCOMP',
    23: 'PR_CAPBSET_READ',
    24: 'PR_CAPBSET_DROP',
    28: 'PR_SET_SECUREBITS',
    36: 'PR_SET_CHILD_SUBREAPER',
    38: 'PR_SET_NO_NEW_PRIVS',
    47: 'PR_CAP_AMBIENT',
  },
  rlimit: [
    'RLIMIT_CPU',
    'RLIMIT_FSIZE',
    'RLIMIT_DATA',
    'RLIMIT_STACK',
    'RLIMIT_CORE',
    'RLIMIT_RSS',
    'RLIMIT_NPROC',
    'RLIMIT_NOFILE',
    'RLIMIT_MEMLOCK',
    'RLIMIT_AS',
    'RLIMIT_LOCKS',
    'RLIMIT_SIGPENDING',
    'RLIMIT_MSGQUEUE',
    'RLIMIT_NICE',
    'RLIMIT_RTPRIO',
    'RLIMIT_RTTIME',
  ],
  ioctl: {
    0x540e: 'TIOCSCTTY',
    0x5413: 'TIOCGWINSZ',
    0x5414: 'TIOCSWINSZ',
    0x5441: 'TIOCGPTPEER',
    0x40045431: 'TIOCSPTLCK',
    0x80045430: 'TIOCGPTN',
  },
  keyctl: { 1: 'KEYCTL_JOIN_SESSION_KEYRING', 8: 'KEYCTL_LINK', 5: 'KEYCTL_SETPERM' },
} as const;

/** `A|B|0x10`; `zero` for no bits at all. */
export function bits(value: bigint, table: Words, zero = '0'): string {
  if (value === 0n) return zero;
  let left = value;
  const found: string[] = [];
  for (const [name, bit] of table) {
    if ((left & bit) !== bit) continue;
    found.push(name);
    left &= ~bit;
  }
  if (left !== 0n) found.push(`0x${left.toString(16)}`);
  return found.join('|');
}
