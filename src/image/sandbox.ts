import { capabilityNumber } from '../kernel/capabilities.ts';
import {
  AT_FDCWD,
  CLONE_NEWNS,
  CLONE_NEWUSER,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MS_PRIVATE,
  MS_REC,
  O_CLOEXEC,
  O_PATH,
  openFlags,
  PR_SET_PDEATHSIG,
  SIGKILL,
} from '../kernel/constants.ts';
import { hostFacts } from '../kernel/facts.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import { cloneTree, setAttributes } from '../runtime/filesystem.ts';
import { capset, noNewPrivileges } from '../runtime/security.ts';
import { socketPair } from '../runtime/stdio.ts';
import { type IdMapper, mapIds } from '../runtime/userns-steps.ts';
import type { LinuxIdMapping } from '../spec/runtime.ts';

/** A user namespace of the sandbox's own, for who is not the machine's root. */
export interface SandboxIds {
  readonly uids: readonly LinuxIdMapping[];
  readonly gids: readonly LinuxIdMapping[];
  readonly mapper: IdMapper;
}

/** What making files of any owner, mode and kind takes, and nothing else. trusted.* attributes are set by others: see overlay-marks.ts. */
const keptCapabilities = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'MKNOD', 'SETFCAP'];

/**
 * Runs `body` in a process that sees the directory `root` as its whole file system, without devices, setuid or execution, with the
 * capabilities above and no way to gain more. Where mount namespaces can't be had it is in a chroot only, and where that
 * can't be had it relies on the operation's own resolution beneath `root`. `body` gets the directory, opened anew from inside.
 */
export function sandboxed(b: PlanBuilder, root: string, ids: SandboxIds | undefined, body: (root: Reg) => void): void {
  b.group('sandbox').doing('making the sandbox');
  const link = ids && socketPair(b, 'link');
  const child = b.clone({ flags: ids ? CLONE_NEWUSER | CLONE_NEWNS : 0n, name: 'sandbox', pidfd: false }, () => {
    b.sys('prctl', [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]);
    if (link) becomeMapped(b, link);
    confine(b, root);
    const inside = openDirectory(b, '.');
    noNewPrivileges(b);
    // The bounding set may stay: with no_new_privs not even an execve brings back what is dropped here.
    const { effective } = hostFacts().capabilities;
    const kept = keptCapabilities.map((name) => capabilityNumber(name) as number);
    const sets = ids ? kept : kept.filter((c) => effective.includes(c));
    b.doing('dropping capabilities');
    capset(b, sets, sets, []);
    body(inside);
  });
  if (ids && link) {
    b.sys('close', [link.child]);
    mapIds(b, child.pid, ids.uids, ids.gids, ids.mapper);
    b.write(link.parent, 'g', { on: { EPIPE: 'continue', ECONNRESET: 'continue' } });
  }
  b.group('sandbox').doing('waiting for the sandbox');
  b.await(child.report);
  const status = b.blob(8, 'status');
  b.sys('wait4', [child.pid, status, 0, 0]);
  const done = b.label();
  b.branch(b.peek(status, 4, 'status'), '==', 0, done);
  b.fail('ECHILD', 'the sandboxed process was killed');
  b.place(done);
}

/** Waits for the map, then becomes the namespace's root. */
function becomeMapped(b: PlanBuilder, link: { parent: Reg; child: Reg }): void {
  b.sys('close', [link.parent]);
  const mapped = b.label();
  b.branch(b.sys('read', [link.child, b.blob(1), 1]), '==', 1, mapped);
  b.fail('ECONNABORTED', 'waiting for the map of IDs');
  b.place(mapped);
  b.sys('setresgid', [0, 0, 0]);
  b.sys('setresuid', [0, 0, 0]);
}

/** The directory, without anything mounted in it, becomes `/` and the working directory. */
function confine(b: PlanBuilder, root: string): void {
  const [bare, done] = [b.label(), b.label()];
  b.doing(`entering ${root}`);
  b.sys('unshare', [CLONE_NEWNS], { on: { EPERM: bare } });
  b.sys('mount', [0, '/', 0, MS_PRIVATE | MS_REC, 0], { on: { EPERM: bare, EACCES: bare } });
  const tree = cloneTree(b, AT_FDCWD, root, { on: { EPERM: bare, ENOSYS: bare } });
  setAttributes(
    b,
    tree,
    { set: MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC },
    { on: { ENOSYS: 'continue' } },
  );
  b.sys('fchdir', [tree]);
  b.sys('chroot', ['.']);
  b.jump(done);
  b.place(bare);
  b.sys('chdir', [root]);
  b.sys('chroot', ['.'], { on: { EPERM: 'continue' } });
  b.place(done);
}

function openDirectory(b: PlanBuilder, path: string): Reg {
  return b.sys('openat', [AT_FDCWD, path, O_PATH | openFlags(b.arch).O_DIRECTORY | O_CLOEXEC]);
}
