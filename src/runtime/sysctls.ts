import { O_PATH, O_WRONLY, RESOLVE_BENEATH, RESOLVE_NO_XDEV } from '../kernel/constants.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import { makeFilesystem } from './filesystem.ts';
import { noLinks, openHost, openIn } from './in-root.ts';

/**
 * Writes sysctls through the container's own procfs, or through another one where none is mounted, by its descriptor and without leaving that file system: whatever a
 * mount puts over /proc, the write reaches procfs (CVE-2025-52881). Which keys are namespaced was checked before.
 */
export function writeSysctls(
  b: PlanBuilder,
  mounted: Reg | undefined,
  sysctls: Readonly<Record<string, string>> | undefined,
): void {
  if (!sysctls || Object.keys(sysctls).length === 0) return;
  b.group('namespaces').doing('mounting a procfs to set sysctls');
  const proc = mounted ?? anotherProcfs(b);
  for (const [key, value] of Object.entries(sysctls)) {
    b.doing(`setting the sysctl ${key}`);
    const fd = openIn(b, proc, `sys/${sysctlPath(key)}`, {
      flags: O_WRONLY,
      resolve: (noLinks & ~0x10) | RESOLVE_BENEATH | RESOLVE_NO_XDEV,
    });
    b.write(fd, value);
    b.sys('close', [fd]);
  }
  if (proc !== mounted) b.sys('close', [proc]);
}

/** A user namespace that doesn't own its pid namespace may not make one: the host's then, which is still there (its files are of whoever opens them). */
function anotherProcfs(b: PlanBuilder): Reg {
  const [host, done] = [b.label(), b.label()];
  const proc = b.reg('procfs');
  b.set(proc, makeFilesystem(b, 'proc', [], 0, { EPERM: host }));
  b.jump(done);
  b.place(host);
  openHost(b, '/proc', O_PATH, { dst: proc });
  b.place(done);
  return proc;
}

/** sysctl(8): the first separator says which of `.` and `/` separates; the other one is then part of a name. */
export function sysctlPath(key: string): string {
  const first = /[./]/.exec(key)?.[0];
  return first === '/' ? key : key.replace(/[./]/g, (c) => (c === '.' ? '/' : '.'));
}
