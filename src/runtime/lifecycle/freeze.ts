/** `pause` and `resume`: the freezer of the container's control groups. */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fromSystemError, KeelsonError } from '../../ground/errors.ts';
import { cgroupDriver } from '../../kernel/cgroup.ts';
import { statusOf } from './container-state.ts';
import type { Host } from './host.ts';
import type { Found } from './state-store.ts';

export async function setFrozen(host: Host, found: Found, frozen: boolean): Promise<void> {
  const status = statusOf(found.state, found.files);
  if (frozen && status !== 'running' && status !== 'created')
    throw new KeelsonError('conflict', `container not running or created: ${status}`);
  if (!frozen && status !== 'paused') throw new KeelsonError('conflict', 'container not paused');
  const { cgroup } = found.state.keelson;
  const freezer = cgroup && cgroupDriver(host.facts.cgroup).freezer(cgroup);
  if (!freezer) throw new KeelsonError('unsupported', 'cannot toggle freezer: cgroups not configured for container');
  const { path, value } = frozen ? freezer.freeze : freezer.thaw;
  const deadline = Date.now() + 5000;
  try {
    writeFileSync(path, value);
    for (;;) {
      const now = readFileSync(freezer.state.path, 'utf8');
      if (freezer.state.frozen.test(now) === frozen && !now.startsWith('FREEZING')) return;
      if (Date.now() > deadline) break;
      await sleep(2);
      // A group of version 1 may need to be told again while its processes fork.
      if (frozen && path.endsWith('freezer.state')) writeFileSync(path, value);
    }
  } catch (error) {
    throw fromSystemError(error, `writing ${value} to ${path}`);
  }
  if (frozen) writeFileSync(freezer.thaw.path, freezer.thaw.value);
  throw new KeelsonError('timeout', frozen ? 'unable to freeze' : 'unable to thaw');
}
