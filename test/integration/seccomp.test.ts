import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { arch as machine, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { defaultCapabilities } from '../../src/kernel/capabilities.ts';
import { hostFacts } from '../../src/kernel/facts.ts';
import { compileSeccomp, seccompFlags } from '../../src/kernel/seccomp.ts';
import { defaultProfile } from '../../src/kernel/seccomp-default.ts';
import { resolveProfile } from '../../src/kernel/seccomp-profile.ts';
import { findSyscall, hostArch, syscallNumber } from '../../src/kernel/syscalls.ts';
import type { LinuxSeccomp } from '../../src/spec/runtime.ts';

/**
 * Sets a filter in a child and makes the calls of a file there: u32 mode (0: native, 1: int 0x80), u32 number, u64 arguments[6], each
 * followed by room for the result (-errno). The child ends by a trap, so no call is needed to end it.
 */
const program = String.raw`
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct query { uint32_t mode, number; uint64_t args[6]; int64_t result; };

static void *map(const char *path, size_t *size, int share) {
  int fd = open(path, O_RDWR);
  struct stat st;
  if (fd < 0 || fstat(fd, &st)) { perror(path); exit(2); }
  *size = st.st_size;
  void *at = mmap(0, st.st_size, PROT_READ | PROT_WRITE, share ? MAP_SHARED : MAP_PRIVATE, fd, 0);
  if (at == MAP_FAILED) { perror("mmap"); exit(2); }
  return at;
}

static int64_t call(const struct query *q) {
#if defined(__x86_64__)
  if (q->mode == 1) {
    int32_t result;
    __asm__ volatile("int $0x80" : "=a"(result)
      : "a"(q->number), "b"(q->args[0]), "c"(q->args[1]), "d"(q->args[2]), "S"(q->args[3]), "D"(q->args[4])
      : "memory", "r8", "r9", "r10", "r11");
    return result;
  }
  int64_t result;
  register uint64_t r10 __asm__("r10") = q->args[3];
  register uint64_t r8 __asm__("r8") = q->args[4];
  register uint64_t r9 __asm__("r9") = q->args[5];
  __asm__ volatile("syscall" : "=a"(result) : "a"((uint64_t)q->number), "D"(q->args[0]), "S"(q->args[1]), "d"(q->args[2]), "r"(r10), "r"(r8), "r"(r9)
    : "rcx", "r11", "memory");
  return result;
#else
  long result = syscall(q->number, q->args[0], q->args[1], q->args[2], q->args[3], q->args[4], q->args[5]);
  return result < 0 ? -errno : result;
#endif
}

int main(int argc, char **argv) {
  size_t filter_size, query_size;
  struct sock_filter *filter = map(argv[1], &filter_size, 0);
  struct query *queries = map(argv[2], &query_size, 1);
  struct sock_fprog prog = { filter_size / sizeof *filter, filter };
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, atoi(argv[3]), &prog) < 0) { perror("seccomp"); _exit(3); }
    for (size_t i = 0; i < query_size / sizeof *queries; i++) queries[i].result = call(&queries[i]);
    __builtin_trap();
  }
  int status;
  waitpid(child, &status, 0);
  if (WIFEXITED(status)) printf("exit %d\n", WEXITSTATUS(status));
  else printf("signal %d\n", WTERMSIG(status));
  return 0;
}
`;

const folder = mkdtempSync(join(tmpdir(), 'keelson-seccomp-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const binary = join(folder, 'try');
writeFileSync(join(folder, 'try.c'), program);
execFileSync('cc', ['-O1', '-o', binary, join(folder, 'try.c')]);

const arch = hostArch();
const facts = hostFacts();
const SIGTRAP_OR_ILL = /^signal (4|5)$/;

interface Query {
  readonly mode?: 0 | 1;
  readonly number: number;
  readonly args?: readonly (number | bigint)[];
}

/** The results of calls under a filter, and how the process ended. */
function attempt(seccomp: LinuxSeccomp, queries: readonly Query[]): { results: bigint[]; end: string } {
  const bytes = Buffer.alloc(queries.length * 64);
  for (const [i, { mode = 0, number, args = [] }] of queries.entries()) {
    bytes.writeUInt32LE(mode, i * 64);
    bytes.writeUInt32LE(number, i * 64 + 4);
    for (const [j, arg] of args.entries()) bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(arg)), i * 64 + 8 + 8 * j);
    bytes.writeBigInt64LE(-9999n, i * 64 + 56);
  }
  const files = [join(folder, 'filter'), join(folder, 'queries')] as const;
  writeFileSync(files[0], compileSeccomp(seccomp, arch));
  writeFileSync(files[1], bytes);
  const end = execFileSync(binary, [...files, String(seccompFlags(seccomp))], { encoding: 'utf8' }).trim();
  const answers = readFileSync(files[1]);
  return { results: queries.map((_, i) => answers.readBigInt64LE(i * 64 + 56)), end };
}

/** Every call that is let through becomes an errno of its own, so that nothing is really done. */
function harmless(seccomp: LinuxSeccomp): LinuxSeccomp {
  const [allowed, others] = [77, 78];
  return {
    ...seccomp,
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: others,
    syscalls: (seccomp.syscalls ?? []).map((rule) =>
      rule.action === 'SCMP_ACT_ALLOW' ? { ...rule, action: 'SCMP_ACT_ERRNO', errnoRet: allowed } : rule,
    ),
  };
}

const resolved = resolveProfile(defaultProfile, { arch, kernel: facts.kernel, capabilities: defaultCapabilities });

test('the kernel judges every call as the default profile says', () => {
  // These two go past every filter, and end whoever is not the kernel's own code for probes.
  const probes = ['uretprobe', 'uprobe'].map((name) => findSyscall(arch, name));
  const getpid = syscallNumber(arch, 'getpid');
  const queries = Array.from({ length: 601 }, (_, i): Query => ({ number: probes.includes(i) ? getpid : i, args: [] }));
  const { results, end } = attempt(harmless(resolved), queries);
  assert.match(end, SIGTRAP_OR_ILL);
  const is = (name: string) => results[syscallNumber(arch, name)];
  for (const name of ['read', 'openat', 'execve', 'exit_group', 'prctl', 'socket', 'clone'])
    assert.equal(is(name), -77n, name);
  for (const name of ['mount', 'bpf', 'keyctl', 'unshare', 'reboot', 'kexec_load']) assert.equal(is(name), -78n, name);
  assert.equal(is('clone3'), -38n);
  assert.equal(results[600], -38n);
  assert.equal(results.filter((r) => r !== -77n && r !== -78n && r !== -38n).length, 0);
});

test('the kernel judges arguments of 64 bits', () => {
  const number = syscallNumber(arch, 'ioctl');
  const big = 0x1234567890n;
  const ops = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT'] as const;
  for (const op of ops) {
    const seccomp: LinuxSeccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [
        {
          names: ['ioctl'],
          action: 'SCMP_ACT_ERRNO',
          errnoRet: 99,
          args: [{ index: 2, op: `SCMP_CMP_${op}`, value: big }],
        },
      ],
    };
    const tries = [0n, big - 1n, big, big + 1n, big + 2n ** 32n, big - 2n ** 32n, 2n ** 64n - 1n];
    const { results } = attempt(
      seccomp,
      tries.map((arg) => ({ number, args: [-1, 0, arg] })),
    );
    const holds = {
      NE: (a: bigint) => a !== big,
      LT: (a: bigint) => a < big,
      LE: (a: bigint) => a <= big,
      EQ: (a: bigint) => a === big,
      GE: (a: bigint) => a >= big,
      GT: (a: bigint) => a > big,
    }[op];
    assert.deepEqual(
      results,
      tries.map((arg) => (holds(arg) ? -99n : -9n)),
      op,
    );
  }
});

test('the default filter is taken by the kernel and kills nothing that it lets through', () => {
  const { results, end } = attempt(resolved, [
    { number: syscallNumber(arch, 'getpid') },
    { number: syscallNumber(arch, 'socket'), args: [40, 1, 0] },
    { number: syscallNumber(arch, 'personality'), args: [0xffffffff] },
    { number: syscallNumber(arch, 'unshare'), args: [0x10000000] },
  ]);
  assert.match(end, SIGTRAP_OR_ILL);
  assert.ok((results[0] as bigint) > 0n);
  assert.deepEqual([results[1], results[3]], [-1n, -1n]);
  assert.equal(results[2], 0n);
});

test('killing actions kill', () => {
  const rule = (action: 'SCMP_ACT_KILL' | 'SCMP_ACT_KILL_PROCESS' | 'SCMP_ACT_TRAP'): LinuxSeccomp => ({
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: [{ names: ['getppid', 'gettid'], action }],
  });
  for (const action of ['SCMP_ACT_KILL', 'SCMP_ACT_KILL_PROCESS', 'SCMP_ACT_TRAP'] as const) {
    assert.equal(attempt(rule(action), [{ number: syscallNumber(arch, 'gettid') }]).end, 'signal 31', action);
  }
});

// What 32-bit programs may call. There is no 64-bit kernel of arm in reach that could say whether it is built with this.
const x86 = machine() === 'x64';
if (x86) {
  test('calls of 32-bit programs are judged by their own numbers', () => {
    const i386 = (name: string, ...args: number[]): Query => ({ mode: 1, number: syscallNumber('i386', name), args });
    const { results, end } = attempt(harmless(resolved), [
      i386('read'),
      i386('mount'),
      i386('socketcall', 1),
      i386('stime'),
      { mode: 1, number: 600 },
    ]);
    // Kernels without CONFIG_IA32_EMULATION answer int 0x80 with a fault.
    if (end === 'signal 11') return;
    assert.deepEqual(results, [-77n, -78n, -77n, -78n, -38n]);
    const socketless: LinuxSeccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      architectures: ['SCMP_ARCH_X86'],
      syscalls: [{ names: ['socket'], action: 'SCMP_ACT_ERRNO', errnoRet: 97 }],
    };
    assert.deepEqual(attempt(socketless, [i386('socketcall', 1), i386('socket', 1, 1, 0)]).results, [-97n, -97n]);
  });

  test('calls of another architecture than the profile lists kill', () => {
    const native: LinuxSeccomp = { defaultAction: 'SCMP_ACT_ALLOW', architectures: ['SCMP_ARCH_X86_64'] };
    const end = attempt(native, [{ mode: 1, number: syscallNumber('i386', 'getpid') }]).end;
    assert.match(end, /^signal (31|11)$/);
    assert.equal(attempt(native, [{ number: syscallNumber('x32', 'getpid') }]).end, 'signal 31');
  });
}
