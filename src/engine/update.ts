import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { cgroupDriver, readText, writeLimits } from '../kernel/cgroup.ts';
import { containerEvent } from './container-events.ts';
import { watchExit } from './exit-watch.ts';
import { hostCapacity } from './host-capacity.ts';
import type { Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { cgroupOf, needsExitCommand } from './run-plan.ts';
import { linuxResources } from './spec-resources.ts';
import type { Resources, RestartPolicy } from './types.ts';
import { checkRestart, invalid } from './validate.ts';
import { checkResources } from './validate-resources.ts';
import { withContainer } from './with-container.ts';

/** Changes limits and the restart policy, of a running container at once. Returns warnings. */
export async function update(
  parts: Parts,
  context: Context,
  reference: string,
  change: { resources?: Resources; restart?: RestartPolicy },
): Promise<readonly string[]> {
  return withContainer(parts, context, reference, 'updating', async (record) => {
    if (record.state === 'removing' || record.state === 'dead') {
      throw new KeelsonError('conflict', 'Container is marked for removal and cannot be "update".');
    }
    const { config } = record.spec;
    checkRestart(change.restart, config.autoRemove === true);
    const resources = merged(config.resources ?? {}, change.resources ?? {});
    const warnings = checkResources(resources, hostCapacity(parts.facts));
    const live = record.state === 'running' || record.state === 'paused';
    if (live && change.resources) apply(parts, record, resources);
    const restart = change.restart ?? config.restart;
    const restarts = restart !== undefined && restart.name !== 'no';
    if (live && restarts && !needsExitCommand(record)) await watchExit(parts, context, record);
    parts.db.immediate(() => {
      parts.records.update(record.id, {
        spec: { ...record.spec, config: { ...config, resources, ...(restart && { restart }) } },
      });
      containerEvent(parts, record, 'update');
    });
    return warnings;
  });
}

/** What is not named stays. Memory and swap belong together: docker refuses to raise one above the other. */
function merged(old: Resources, change: Resources): Resources {
  if (change.nanoCpus && (old.cpuPeriod || old.cpuQuota)) {
    throw invalid('Conflicting options: Nano CPUs cannot be updated as CPU Period or Quota has already been set');
  }
  if ((change.cpuPeriod || change.cpuQuota) && old.nanoCpus) {
    throw invalid('Conflicting options: CPU Period and Quota cannot be updated as NanoCPUs has already been set');
  }
  const memory = change.memory ?? old.memory ?? 0;
  const swap = change.memorySwap ?? old.memorySwap ?? 0;
  if (memory > 0 && swap > 0 && memory > swap) {
    throw invalid(
      'Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time',
    );
  }
  return { ...old, ...change };
}

function apply(parts: Parts, record: ContainerRecord, resources: Resources): void {
  const cgroup = cgroupOf(parts.facts, record.id);
  if (cgroup === undefined)
    throw new KeelsonError('unsupported', `container ${record.name} has no control group to limit`);
  const writes = cgroupDriver(parts.facts.cgroup).update(cgroup, linuxResources(resources), readText);
  writeLimits(writes);
}
