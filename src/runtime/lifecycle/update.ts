/** `update`: other limits for a container that is there. */
import { writeFileSync } from 'node:fs';
import { fromSystemError, KeelsonError } from '../../ground/errors.ts';
import { cgroupDriver, readText } from '../../kernel/cgroup.ts';
import { formatConfig } from '../../spec/config.ts';
import type { LinuxResources } from '../../spec/runtime.ts';
import { refuseLimits } from './rootless.ts';
import { statusOf } from './container-state.ts';
import type { Host } from './host.ts';
import { specOf } from './start.ts';
import type { Found } from './state-store.ts';

/** Puts `resources` into force, one file after the other, and records them. */
export function updateContainer(host: Host, found: Found, resources: LinuxResources): void {
  if (statusOf(found.state, found.files) === 'stopped')
    throw new KeelsonError('conflict', 'cannot update a stopped container');
  const { cgroup } = found.state.keelson;
  if (!cgroup) {
    refuseLimits(resources, false);
    return;
  }
  for (const write of cgroupDriver(host.facts.cgroup).update(cgroup, resources, readText)) {
    try {
      writeFileSync(write.path, write.value, { flag: 'r+' });
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      if (write.whenMissing === 'ignore' || (missing && write.whenMissing === 'warn')) continue;
      throw fromSystemError(error, `writing ${JSON.stringify(write.value)} to ${write.path}`);
    }
  }
  const spec = specOf(found);
  const before = spec.linux?.resources ?? {};
  const { devices: _, ...changed } = resources;
  const merged = {
    ...before,
    ...changed,
    memory: { ...before.memory, ...resources.memory },
    cpu: { ...before.cpu, ...resources.cpu },
    ...((before.blockIO || resources.blockIO) && { blockIO: { ...before.blockIO, ...resources.blockIO } }),
  };
  writeFileSync(found.files.config, formatConfig({ ...spec, linux: { ...spec.linux, resources: merged } }), {
    mode: 0o600,
  });
}
