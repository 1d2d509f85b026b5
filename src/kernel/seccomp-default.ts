import type { LinuxSeccompArg } from '../spec/runtime.ts';
import type { ProfileCondition, ProfileRule, SeccompProfile } from './seccomp-profile.ts';

/** What every container may call: docker's selection (June 2026). Names of 32-bit variants count where they exist. */
const always = [
  // Files by path
  `access chdir chmod chown chown32 creat faccessat faccessat2 fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown
   fchown32 fchownat getcwd inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown lchown32 link
   linkat listmount mkdir mkdirat mknod mknodat name_to_handle_at open openat openat2 readlink readlinkat rename
   renameat renameat2 rmdir statmount symlink symlinkat truncate truncate64 umask unlink unlinkat`,
  // What is known of files
  `fgetxattr flistxattr fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 futimesat getxattr getxattrat
   lgetxattr listxattr listxattrat llistxattr lremovexattr lsetxattr lstat lstat64 newfstatat removexattr
   removexattrat setxattr setxattrat stat stat64 statfs statfs64 statx utime utimensat utimensat_time64 utimes`,
  // Open files
  `close close_range copy_file_range dup dup2 dup3 fadvise64 fadvise64_64 fallocate fcntl fcntl64 fdatasync flock fsync
   ftruncate ftruncate64 getdents getdents64 ioctl _llseek lseek memfd_create memfd_secret pipe pipe2 pread64 preadv
   preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile sendfile64 splice sync sync_file_range syncfs tee
   vmsplice write writev`,
  // Waiting for them
  `epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
   eventfd2 io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect poll
   ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4`,
  // Memory
  `brk cachestat madvise map_shadow_stack membarrier mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal
   msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages`,
  // Processes and threads
  `execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake
   get_robust_list get_thread_area getpgid getpgrp getpid getppid getsid gettid landlock_add_rule
   landlock_create_ruleset landlock_restrict_self pidfd_open pidfd_send_signal prctl restart_syscall riscv_hwprobe
   rseq seccomp set_robust_list set_thread_area set_tid_address setpgid setsid uretprobe vfork wait4 waitid waitpid`,
  // Signals
  `alarm kill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
   rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn tgkill tkill`,
  // Users and capabilities
  `capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
   getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups
   setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32`,
  // Time
  `adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
   clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
   timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
   timerfd_gettime64 timerfd_settime timerfd_settime64 times`,
  // Sockets
  `accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
   send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair`,
  // System V and POSIX messages, semaphores, shared memory
  `ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
   mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget`,
  // Scheduling and limits
  `getcpu getpriority getrlimit getrusage ioprio_get ioprio_set prlimit64 sched_get_priority_max sched_get_priority_min
   sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
   sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
   setpriority setrlimit ugetrlimit`,
  // The machine
  `getrandom sysinfo uname`,
];

/** What capabilities open up. */
const withCapability: Readonly<Record<string, string>> = {
  BPF: 'bpf',
  DAC_READ_SEARCH: 'open_by_handle_at',
  PERFMON: 'perf_event_open',
  SYSLOG: 'syslog',
  SYS_ADMIN: `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
    lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
    sethostname setns syslog umount umount2 unshare`,
  SYS_BOOT: 'reboot',
  SYS_CHROOT: 'chroot',
  SYS_MODULE: 'delete_module finit_module init_module',
  SYS_NICE: 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node',
  SYS_PACCT: 'acct',
  SYS_PTRACE: 'kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace',
  SYS_RAWIO: 'ioperm iopl',
  SYS_TIME: 'clock_settime clock_settime64 settimeofday stime',
  SYS_TTY_CONFIG: 'vhangup',
};

const [AF_ALG, AF_VSOCK] = [38, 40];
/** personality(2): LINUX, LINUX32, UNAME26 with either, and the query. */
const personalities = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];
/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET: clone(2) may make processes and threads, no namespaces. */
const cloneNamespaces = 0x7e020000;
const ENOSYS = 38;

const words = (names: string): string[] => names.trim().split(/\s+/);

function allow(
  names: string,
  options: { includes?: ProfileCondition; excludes?: ProfileCondition; arg?: LinuxSeccompArg } = {},
): ProfileRule {
  const { arg, ...conditions } = options;
  return { names: words(names), action: 'SCMP_ACT_ALLOW', ...conditions, ...(arg ? { args: [arg] } : {}) };
}

/** First argument. */
const first = (op: LinuxSeccompArg['op'], value: number, valueTwo?: number): LinuxSeccompArg =>
  valueTwo === undefined ? { index: 0, op, value } : { index: 0, op, value, valueTwo };

/**
 * The profile of containers that name no other: what is not allowed is refused with EPERM. The choice of calls is docker's, so that
 * what runs there runs here. socketcall(2) of i386 is allowed and hides its arguments, so 32-bit programs reach the two socket
 * families that are kept from others.
 */
export const defaultProfile: SeccompProfile = {
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: 1,
  archMap: [
    { architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86', 'SCMP_ARCH_X32'] },
    { architecture: 'SCMP_ARCH_AARCH64', subArchitectures: ['SCMP_ARCH_ARM'] },
  ],
  syscalls: [
    allow(always.join(' ')),
    // Before Linux 4.8 ptrace(2) could be used to get around a filter.
    allow('process_vm_readv process_vm_writev ptrace', { includes: { minKernel: '4.8' } }),
    // Every family but AF_ALG, the kernel's cryptography, and AF_VSOCK, which knows no network namespaces.
    allow('socket', { arg: first('SCMP_CMP_LT', AF_ALG) }),
    allow('socket', { arg: first('SCMP_CMP_EQ', AF_ALG + 1) }),
    allow('socket', { arg: first('SCMP_CMP_GT', AF_VSOCK) }),
    ...personalities.map((value) => allow('personality', { arg: first('SCMP_CMP_EQ', value) })),
    allow('arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls', {
      includes: { arches: ['arm', 'arm64'] },
    }),
    allow('arch_prctl modify_ldt', { includes: { arches: ['amd64', 'x32'] } }),
    ...Object.entries(withCapability).map(([name, calls]) => allow(calls, { includes: { caps: [`CAP_${name}`] } })),
    allow('clone', {
      arg: first('SCMP_CMP_MASKED_EQ', cloneNamespaces, 0),
      excludes: { caps: ['CAP_SYS_ADMIN'] },
    }),
    // Its flags lie in memory, out of a filter's sight; C libraries go on with clone(2) when it seems not to be there.
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS, excludes: { caps: ['CAP_SYS_ADMIN'] } },
  ],
};
