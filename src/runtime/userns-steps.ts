/** Writing the ID maps of a new user namespace (user_namespaces(7)). */
import { KeelsonError } from '../ground/errors.ts';
import { AT_FDCWD, O_CLOEXEC, O_WRONLY } from '../kernel/constants.ts';
import type { BlobRef, Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { LinuxIdMapping } from '../spec/runtime.ts';
import { resetSignals } from './signal-steps.ts';

/**
 * Who may write the maps. `direct`: a process with CAP_SETUID and CAP_SETGID over the parent namespace writes any map.
 * `user`: an ordinary user maps itself alone, giving up setgroups(2) for it; any other map goes through the setuid programs newuidmap
 * and newgidmap, which check /etc/subuid and /etc/subgid.
 */
export type IdMapper =
  | { readonly kind: 'direct' }
  | {
      readonly kind: 'user';
      readonly uid: number;
      readonly gid: number;
      readonly newuidmap?: string | undefined;
      readonly newgidmap?: string | undefined;
    };

/** Whether the map leaves the namespace without setgroups(2): what an ordinary user pays for writing it (user_namespaces(7)). */
export function deniesSetgroups(mapper: IdMapper, gids: readonly LinuxIdMapping[]): boolean {
  return mapper.kind === 'user' && isItself(gids, mapper.gid);
}

export function mapIds(
  b: PlanBuilder,
  pid: Reg,
  uids: readonly LinuxIdMapping[],
  gids: readonly LinuxIdMapping[],
  mapper: IdMapper,
): void {
  b.group('namespaces').doing('mapping the IDs of the user namespace');
  if (mapper.kind === 'direct' || isItself(uids, mapper.uid)) writeProc(b, pid, 'uid_map', mapText(uids));
  else runHelper(b, 'newuidmap', mapper.newuidmap, pid, uids);
  if (deniesSetgroups(mapper, gids)) writeProc(b, pid, 'setgroups', 'deny');
  if (mapper.kind === 'direct' || isItself(gids, mapper.gid)) writeProc(b, pid, 'gid_map', mapText(gids));
  else runHelper(b, 'newgidmap', mapper.newgidmap, pid, gids);
}

function isItself(map: readonly LinuxIdMapping[], id: number): boolean {
  return map.length === 1 && map[0]?.hostID === id && map[0].size === 1;
}

function mapText(map: readonly LinuxIdMapping[]): string {
  return map.map((m) => `${m.containerID} ${m.hostID} ${m.size}\n`).join('');
}

function writeProc(b: PlanBuilder, pid: Reg, file: string, text: string): void {
  const fd = openOfProcess(b, pid, file, O_WRONLY);
  b.write(fd, text);
  b.sys('close', [fd]);
}

/** /proc/<pid>/<file>. */
export function openOfProcess(b: PlanBuilder, pid: Reg, file: string, flags: number): Reg {
  const directory = procDirectory(b, pid);
  const fd = b.sys('openat', [directory, file, flags | O_CLOEXEC]);
  b.sys('close', [directory]);
  return fd;
}

/** An O_PATH descriptor of /proc/<pid>. */
function procDirectory(b: PlanBuilder, pid: Reg): Reg {
  const path = b.blob(Buffer.concat([Buffer.from('/proc/'), Buffer.alloc(24)]), '"/proc/<pid>"');
  b.format({ ...path, offset: 6 }, pid);
  return b.sys('openat', [AT_FDCWD, path, 0o12000000]);
}

function runHelper(
  b: PlanBuilder,
  name: string,
  program: string | undefined,
  pid: Reg,
  map: readonly LinuxIdMapping[],
): void {
  const words = map.flatMap((m) => [m.containerID, m.hostID, m.size].map(String));
  if (program === undefined)
    throw new KeelsonError(
      'unsupported',
      `an ordinary user needs ${name} (Debian's package uidmap) to map the IDs ${words.join(' ')}, and it was not found`,
    );
  b.doing(`mapping IDs with ${program}`);
  const digits: BlobRef = b.blob(24, '<pid>');
  b.format(digits, pid);
  const texts = [b.string(program), digits, ...words.map((w) => b.string(w))];
  const argv = b.blob(
    new Uint8Array((texts.length + 1) * 8),
    JSON.stringify([program, '<pid>', ...words]),
    texts.map((to, i) => ({ at: i * 8, to })),
  );
  const helper = b.clone({ flags: 0n, name: 'helper', pidfd: false }, () => {
    resetSignals(b);
    b.sys('execve', [program, argv, b.strings([])]);
  });
  b.await(helper.report);
  const status = b.blob(8, 'status');
  b.sys('wait4', [helper.pid, status, 0, 0]);
  const ok = b.label();
  b.branch(b.peek(status, 4, 'status'), '==', 0, ok);
  b.fail('EPERM', `${program} refused the mapping ${words.join(' ')} (see /etc/subuid and /etc/subgid)`);
  b.place(ok);
}
