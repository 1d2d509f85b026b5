/** What a process gives up before it runs the container's program, and in which order. */
import {
  KEYCTL_JOIN_SESSION_KEYRING,
  LINUX_CAPABILITY_VERSION_3,
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_CLEAR_ALL,
  PR_CAP_AMBIENT_RAISE,
  PR_CAPBSET_DROP,
  PR_SET_KEEPCAPS,
  PR_SET_NO_NEW_PRIVS,
  SECCOMP_SET_MODE_FILTER,
} from '../kernel/constants.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';

/** The five sets as lists of capability numbers (capabilities(7)). */
export interface CapabilityNumbers {
  readonly bounding: readonly number[];
  readonly effective: readonly number[];
  readonly permitted: readonly number[];
  readonly inheritable: readonly number[];
  readonly ambient: readonly number[];
}

/** A keyring of its own, so that the caller's is out of reach; kernels and filters without keyrings are fine. */
export function newKeyring(b: PlanBuilder): void {
  b.doing('joining a session keyring');
  b.sys('keyctl', [KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0], {
    on: { ENOSYS: 'continue', EPERM: 'continue', EDQUOT: 'continue', EACCES: 'continue' },
  });
}

/** Drops what is not in `keep` from the bounding set: needs CAP_SETPCAP, so it comes before the user changes. */
export function dropBounding(b: PlanBuilder, keep: readonly number[], last: number): void {
  b.group('security').doing('dropping capabilities from the bounding set');
  for (let capability = 0; capability <= last; capability++) {
    if (!keep.includes(capability))
      b.sys('prctl', [PR_CAPBSET_DROP, capability, 0, 0, 0], { on: { EINVAL: 'continue' } });
  }
}

/** Becomes the user; capabilities stay permitted through it (KEEPCAPS), for what follows. */
export function becomeUser(
  b: PlanBuilder,
  user: { uid: number; gid: number; additionalGids: readonly number[] },
  options: { setgroups: boolean },
): void {
  b.group('security').doing(`becoming user ${user.uid}:${user.gid}`);
  b.sys('prctl', [PR_SET_KEEPCAPS, 1, 0, 0, 0]);
  if (options.setgroups) {
    const bytes = Buffer.alloc(Math.max(4, user.additionalGids.length * 4));
    for (const [i, gid] of user.additionalGids.entries()) bytes.writeUInt32LE(gid, i * 4);
    b.sys('setgroups', [user.additionalGids.length, b.blob(bytes, `[${user.additionalGids.join(', ')}]`)]);
  }
  b.sys('setresgid', [user.gid, user.gid, user.gid]);
  b.sys('setresuid', [user.uid, user.uid, user.uid]);
}

export function noNewPrivileges(b: PlanBuilder): void {
  b.group('security').doing('setting no_new_privs');
  b.sys('prctl', [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]);
}

/**
 * Installs a compiled filter (`struct sock_filter[]`). Without no_new_privs this needs CAP_SYS_ADMIN, so it comes before
 * capabilities are set; setresuid to another user cleared the effective ones, so all permitted are raised first. The register holds the
 * filter's listener where the flags ask for one.
 */
export function installSeccomp(b: PlanBuilder, filter: Uint8Array, flags: number): Reg {
  b.group('security').doing('installing the seccomp filter');
  const program = b.struct(`{len=${filter.length / 8}, filter=…}`, 16, [
    [0, 2, filter.length / 8],
    [8, 8, b.blob(filter, `struct sock_filter[${filter.length / 8}]`)],
  ]);
  return b.sys('seccomp', [SECCOMP_SET_MODE_FILTER, flags, program]);
}

/** Sets permitted, effective and inheritable as they are to be, then the ambient set. */
export function setCapabilities(b: PlanBuilder, sets: CapabilityNumbers): void {
  b.group('security').doing('setting capabilities');
  capset(b, sets.effective, sets.permitted, sets.inheritable);
  b.sys('prctl', [PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0], { on: { EINVAL: 'continue' } });
  for (const capability of sets.ambient) {
    b.sys('prctl', [PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0], { on: { EPERM: 'continue' } });
  }
}

/** struct __user_cap_header_struct {u32 version, int pid}, struct __user_cap_data_struct[2] {u32 effective, permitted, inheritable}. */
export function capset(
  b: PlanBuilder,
  effective: readonly number[],
  permitted: readonly number[],
  inheritable: readonly number[],
): void {
  const header = b.struct('{version=_LINUX_CAPABILITY_VERSION_3, pid=0}', 8, [[0, 4, LINUX_CAPABILITY_VERSION_3]]);
  const word = (list: readonly number[], half: number) =>
    list.filter((c) => c >> 5 === half).reduce((bits, c) => bits + 2 ** (c & 31), 0);
  const hex = (list: readonly number[]) => `0x${list.reduce((bits, c) => bits | (1n << BigInt(c)), 0n).toString(16)}`;
  const data = b.struct(
    `{effective=${hex(effective)}, permitted=${hex(permitted)}, inheritable=${hex(inheritable)}}`,
    24,
    [0, 1].flatMap((half) => [
      [half * 12, 4, word(effective, half)] as const,
      [half * 12 + 4, 4, word(permitted, half)] as const,
      [half * 12 + 8, 4, word(inheritable, half)] as const,
    ]),
  );
  b.sys('capset', [header, data]);
}
