/** Paths that a container is not to see, or not to change (runtime-spec, config-linux.md#masked-paths, #readonly-paths). */
import { MOUNT_ATTR_RDONLY, O_PATH, openFlags } from '../kernel/constants.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import { attach, cloneTree, makeFilesystem, setAttributes } from './filesystem.ts';
import { openIn } from './in-root.ts';

/**
 * Hides files behind the host's /dev/null (`nul`, opened before anything of the container's could stand in its place,
 * CVE-2025-31133) and directories behind an empty read-only tmpfs. What isn't there needs no hiding.
 */
export function maskPaths(b: PlanBuilder, root: Reg, nul: Reg, paths: readonly string[]): void {
  if (paths.length === 0) return;
  const { O_DIRECTORY } = openFlags(b.arch);
  b.group('security').doing('making an empty directory to mask with');
  const empty = makeFilesystem(b, 'tmpfs', ['source=tmpfs', 'size=0'], MOUNT_ATTR_RDONLY);
  // It hides the first directory itself and is copied for the others: before Linux 6.15 only what is attached can be. Mounts that are
  // never attached are dear, as each waits for a grace period of RCU when it is closed.
  const used = b.reg('used');
  b.set(used, 0);
  for (const path of new Set(paths)) {
    b.doing(`masking ${path}`);
    const [file, copy, done, next] = [b.label(), b.label(), b.label(), b.label()];
    const missing = { ENOENT: next, EACCES: next, ELOOP: next };
    const target = openIn(b, root, path, { flags: O_PATH | O_DIRECTORY, on: { ...missing, ENOTDIR: file } });
    b.branch(used, '!=', 0, copy);
    b.set(used, 1);
    attach(b, empty, target);
    b.jump(done);
    b.place(copy);
    const tree = cloneTree(b, empty, '');
    attach(b, tree, target);
    b.sys('close', [tree]);
    b.jump(done);
    b.place(file);
    openIn(b, root, path, { flags: O_PATH, dst: target, on: { ...missing, ENOTDIR: next } });
    const hidden = cloneTree(b, nul, '');
    attach(b, hidden, target);
    b.sys('close', [hidden]);
    b.place(done);
    b.sys('close', [target]);
    b.place(next);
  }
  b.sys('close', [empty]);
}

/** Makes paths read-only by mounting them on themselves. */
export function protectPaths(b: PlanBuilder, root: Reg, paths: readonly string[]): void {
  b.group('security');
  for (const path of paths) {
    b.doing(`making ${path} read-only`);
    const next = b.label();
    const target = openIn(b, root, path, {
      flags: O_PATH,
      on: { ENOENT: next, ENOTDIR: next, EACCES: next, ELOOP: next },
    });
    const tree = cloneTree(b, target, '', { recursive: true });
    setAttributes(b, tree, { set: MOUNT_ATTR_RDONLY, recursive: true });
    attach(b, tree, target);
    b.sys('close', [tree]);
    b.sys('close', [target]);
    b.place(next);
  }
}
