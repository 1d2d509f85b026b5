import { hostFacts } from '../kernel/facts.ts';
import { compileSeccomp, seccompFlags } from '../kernel/seccomp.ts';
import type { LinuxSeccomp } from '../spec/runtime.ts';

/** What reading, making and removing files by descriptors takes, memory, and telling of it. No sockets, mounts, namespaces, processes, keys. */
const calls = [
  'openat openat2 close fcntl lseek getdents64 readlinkat statx fstat newfstatat',
  'read write writev pread64 pwrite64 sendto sendmsg ftruncate fsync',
  'mkdirat mknodat symlinkat linkat unlinkat renameat renameat2 umask',
  'fchown fchownat fchmod fchmodat fchmodat2 utimensat fsetxattr fgetxattr flistxattr',
  'brk mmap munmap mremap mprotect madvise futex getrandom clock_gettime geteuid gettid getpid',
  'exit exit_group rt_sigreturn rt_sigaction rt_sigprocmask sigaltstack restart_syscall tgkill',
];

let compiled: { filter: Uint8Array; flags: number } | undefined;

/** The filter of keel's sandboxes; undefined on kernels without seccomp. What is not named fails with EPERM. */
export function sandboxFilter(): { filter: Uint8Array; flags: number } | undefined {
  const { arch, seccompActions } = hostFacts();
  if (seccompActions.length === 0) return undefined;
  if (compiled === undefined) {
    const profile: LinuxSeccomp = {
      defaultAction: 'SCMP_ACT_ERRNO',
      architectures: [arch === 'x86_64' ? 'SCMP_ARCH_X86_64' : 'SCMP_ARCH_AARCH64'],
      syscalls: [{ names: calls.flatMap((line) => line.split(' ')), action: 'SCMP_ACT_ALLOW' }],
    };
    compiled = { filter: compileSeccomp(profile, arch), flags: seccompFlags(profile) };
  }
  return compiled;
}
