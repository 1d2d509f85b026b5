import { mkdirSync, writeFile, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hostFacts } from '../../kernel/facts.ts';

let procs: string | undefined;

/** Out of the groups of whoever started the planner: it would be billed to them, frozen with them, killed with them. Best effort. */
export function leaveCgroups(): void {
  const { v1, v2 } = hostFacts().cgroup;
  for (const mount of [...v1, ...(v2 ? [v2] : [])]) {
    if (mount.controllers.includes('cpuset') && mount !== v2) continue; // an empty cpuset takes nobody
    const directory = join(mount.mountPoint, 'keelson', 'planner');
    try {
      mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, 'cgroup.procs'), String(process.pid));
      if (mount !== v2) procs = join(directory, 'cgroup.procs');
    } catch {
      // not allowed to
    }
  }
}

/**
 * The first process that is moved between groups after a while waits for a grace period of the kernel's (percpu_rwsem(9)), some
 * milliseconds; those that follow soon don't. Where containers will be moved (version 1), this one moves itself to where it is
 * already, in the background, while their plans are made.
 */
export function prepareMoves(): void {
  if (procs !== undefined) writeFile(procs, String(process.pid), () => {});
}
