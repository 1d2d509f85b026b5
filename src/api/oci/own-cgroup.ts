import { mkdirSync, writeFile } from 'node:fs';
import { join } from 'node:path';
import { hostFacts } from '../../kernel/facts.ts';

/**
 * Out of the groups of whoever started the planner: it would be billed to them, frozen with them, killed with them. Best effort,
 * and in the background: the kernel takes its time to move a process (a grace period of RCU), and a call waits.
 */
export function leaveCgroups(): void {
  const { v1, v2 } = hostFacts().cgroup;
  for (const mount of [...v1, ...(v2 ? [v2] : [])]) {
    if (mount.controllers.includes('cpuset') && mount !== v2) continue; // an empty cpuset takes nobody
    const directory = join(mount.mountPoint, 'keelson', 'planner');
    try {
      mkdirSync(directory, { recursive: true });
      writeFile(join(directory, 'cgroup.procs'), String(process.pid), () => {});
    } catch {
      // not allowed to
    }
  }
}
