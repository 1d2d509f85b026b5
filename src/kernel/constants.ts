/** Numbers of the kernel's interface that plans are written with; the same on x86_64 and arm64. Source: include/uapi/linux. */

// open(2); O_DIRECTORY and O_NOFOLLOW differ by architecture: see openFlags.
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_APPEND = 0o2000;
export const O_NOCTTY = 0o400;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;

export function openFlags(arch: 'x86_64' | 'aarch64'): { O_DIRECTORY: number; O_NOFOLLOW: number } {
  return arch === 'x86_64'
    ? { O_DIRECTORY: 0o200000, O_NOFOLLOW: 0o400000 }
    : { O_DIRECTORY: 0o40000, O_NOFOLLOW: 0o100000 };
}

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;
export const AT_EMPTY_PATH = 0x1000;
export const AT_RECURSIVE = 0x8000;

// openat2(2): struct open_how { u64 flags, mode, resolve }
export const RESOLVE_NO_XDEV = 0x01;
export const RESOLVE_NO_MAGICLINKS = 0x02;
export const RESOLVE_NO_SYMLINKS = 0x04;
export const RESOLVE_BENEATH = 0x08;
export const RESOLVE_IN_ROOT = 0x10;

// clone3(2), unshare(2), setns(2)
export const CLONE_NEWTIME = 0x80n;
export const CLONE_PARENT = 0x8000n;
export const CLONE_NEWNS = 0x20000n;
export const CLONE_NEWCGROUP = 0x2000000n;
export const CLONE_NEWUTS = 0x4000000n;
export const CLONE_NEWIPC = 0x8000000n;
export const CLONE_NEWUSER = 0x10000000n;
export const CLONE_NEWPID = 0x20000000n;
export const CLONE_NEWNET = 0x40000000n;

// mount(2) and umount2(2)
export const MS_REC = 16384;
export const MS_UNBINDABLE: number = 1 << 17;
export const MS_PRIVATE: number = 1 << 18;
export const MS_SLAVE: number = 1 << 19;
export const MS_SHARED: number = 1 << 20;
export const MNT_DETACH = 2;

// The mount API of Linux 5.2 and 5.12.
export const FSOPEN_CLOEXEC = 1;
export const FSMOUNT_CLOEXEC = 1;
export const FSCONFIG_SET_FLAG = 0;
export const FSCONFIG_SET_STRING = 1;
export const FSCONFIG_CMD_CREATE = 6;
export const MOVE_MOUNT_F_EMPTY_PATH = 0x4;
export const MOVE_MOUNT_T_EMPTY_PATH = 0x40;
export const OPEN_TREE_CLONE = 1;
export const OPEN_TREE_CLOEXEC = 0o2000000;
export const MOUNT_ATTR_RDONLY = 0x1;
export const MOUNT_ATTR_NOSUID = 0x2;
export const MOUNT_ATTR_NODEV = 0x4;
export const MOUNT_ATTR_NOEXEC = 0x8;
export const MOUNT_ATTR_NOATIME = 0x10;
export const MOUNT_ATTR_STRICTATIME = 0x20;
export const MOUNT_ATTR__ATIME = 0x70;
export const MOUNT_ATTR_IDMAP = 0x100000;

// prctl(2)
export const PR_SET_PDEATHSIG = 1;
export const PR_SET_DUMPABLE = 4;
export const PR_SET_KEEPCAPS = 8;
export const PR_CAPBSET_DROP = 24;
export const PR_SET_NO_NEW_PRIVS = 38;
export const PR_CAP_AMBIENT = 47;
export const PR_CAP_AMBIENT_RAISE = 2;
export const PR_CAP_AMBIENT_CLEAR_ALL = 4;

export const SECCOMP_SET_MODE_FILTER = 1;
export const LINUX_CAPABILITY_VERSION_3 = 0x20080522;
export const KEYCTL_JOIN_SESSION_KEYRING = 1;

export const S_IFMT = 0o170000;
export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFBLK = 0o060000;
export const S_IFREG = 0o100000;

export const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_SEQPACKET = 5;
export const SOCK_CLOEXEC = 0o2000000;
export const SIGKILL = 9;
export const TIOCSCTTY = 0x540e;
export const TIOCSPTLCK = 0x40045431;
export const TIOCGPTPEER = 0x5441;
export const TIOCSWINSZ = 0x5414;
export const CLOSE_RANGE_CLOEXEC = 4;

/** dev_t as mknod(2) takes it: makedev(3). */
export function makedev(major: number, minor: number): bigint {
  const [a, b] = [BigInt(major), BigInt(minor)];
  return ((a & 0xfffff000n) << 32n) | ((a & 0xfffn) << 8n) | ((b & 0xffffff00n) << 12n) | (b & 0xffn);
}
