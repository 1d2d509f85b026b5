/** `update`: other limits for a container that is there. */
import { writeFileSync } from 'node:fs';
import { KeelsonError } from '../../ground/errors.ts';
import { cgroupDriver, readText, writeLimits } from '../../kernel/cgroup.ts';
import { limitProperties } from '../../kernel/systemd-unit.ts';
import { formatConfig } from '../../spec/config.ts';
import type { LinuxBlockIo, LinuxCpu, LinuxResources } from '../../spec/runtime.ts';
import { statusOf, type UnitRecord } from './container-state.ts';
import { refuseLimits } from './rootless.ts';
import type { Host } from './host.ts';
import { specOf } from './start.ts';
import type { Found } from './state-store.ts';
import { Systemd } from './systemd.ts';

/** Puts `change` into force, as far as systemd knows of the container there first, and records it. */
export async function updateContainer(host: Host, found: Found, change: LinuxResources): Promise<void> {
  if (statusOf(found.state, found.files) === 'stopped')
    throw new KeelsonError('conflict', 'cannot update a stopped container');
  const { cgroup, unit } = found.state.keelson;
  if (!cgroup) return refuseLimits(change, false);
  const spec = specOf(found);
  const { devices, ...before } = spec.linux?.resources ?? {};
  const merged = mergeResources(before, change);
  const driver = cgroupDriver(host.facts.cgroup);
  const resources = inForce(merged, change);
  // Refused limits are refused before systemd has taken some of them.
  let writes = driver.update(cgroup, resources, readText);
  if (unit) {
    const rounded = await setUnitLimits(host, unit, resources, cgroup.version === 2);
    writes = driver.update(cgroup, rounded, readText);
  }
  writeLimits(writes);
  const recorded = { ...merged, ...(devices && { devices }) };
  const config = { ...spec, linux: { ...spec.linux, resources: recorded } };
  writeFileSync(found.files.config, formatConfig(config), { mode: 0o600 });
}

async function setUnitLimits(
  { environment, warn }: Host,
  unit: UnitRecord,
  given: LinuxResources,
  v2: boolean,
): Promise<LinuxResources> {
  using systemd = await Systemd.connect(unit.manager, environment);
  const { properties, resources, warnings } = limitProperties(given, await systemd.version(), v2);
  for (const warning of warnings) warn(warning);
  if (properties.length > 0) await systemd.setProperties(unit.name, properties);
  return resources;
}

/** What a container has after a change: of a device's weights and rates only those that were named are others. */
export function mergeResources(before: LinuxResources, change: LinuxResources): LinuxResources {
  const { devices: _, ...changed } = change;
  const memory = { ...before.memory, ...change.memory };
  // No limit of memory means none of memory and swap either, unless there is a word about it.
  if (change.memory?.limit === -1 && change.memory.swap === undefined) memory.swap = 0;
  const cpu: LinuxCpu = {
    ...before.cpu,
    ...change.cpu,
    // A group that is idle has no other weight.
    ...(change.cpu?.idle !== undefined && change.cpu.shares === undefined && { shares: 0 }),
  };
  return {
    ...before,
    ...changed,
    memory,
    cpu,
    blockIO: mergeBlockIo(before.blockIO ?? {}, change.blockIO ?? {}),
    ...(change.unified && { unified: { ...before.unified, ...change.unified } }),
  };
}

function mergeBlockIo(before: LinuxBlockIo, change: LinuxBlockIo): LinuxBlockIo {
  const merged: Record<string, unknown> = { ...before, ...change };
  for (const [key, list] of Object.entries(change) as [keyof LinuxBlockIo, unknown][]) {
    if (!Array.isArray(list)) continue;
    const devices = new Map<string, object>();
    const all = [...((before[key] as Device[] | undefined) ?? []), ...(list as Device[])];
    for (const device of all) {
      const name = `${device.major}:${device.minor}`;
      devices.set(name, { ...devices.get(name), ...device });
    }
    merged[key] = [...devices.values()];
  }
  return merged;
}

type Device = { readonly major: number; readonly minor: number };

/**
 * What is written: limits that depend on others together with these, the rest only where it was named, as runc does it. So
 * a quota stands for itself or with its period, and what someone else has written to other files meanwhile stays.
 */
function inForce(merged: LinuxResources, change: LinuxResources): LinuxResources {
  const { memory = {}, cpu = {}, blockIO = {} } = merged;
  const { cpu: asked = {} } = change;
  const { period, quota, burst: _, cpus: __, mems: ___, idle: ____, ...rest } = cpu;
  const bandwidth = Boolean(asked.period) || Boolean(asked.quota);
  const named = Object.fromEntries(
    Object.entries(asked).filter(([key]) => ['burst', 'cpus', 'mems', 'idle'].includes(key)),
  );
  return {
    memory: change.memory?.checkBeforeUpdate ? memory : { ...memory, checkBeforeUpdate: false },
    cpu: {
      ...rest,
      ...named,
      ...(bandwidth && period !== undefined && { period }),
      ...(bandwidth && quota !== undefined && { quota }),
    },
    blockIO,
    ...(change.pids && { pids: change.pids }),
    ...(change.unified && { unified: change.unified }),
    ...(change.hugepageLimits && { hugepageLimits: change.hugepageLimits }),
    ...(change.network && { network: change.network }),
    ...(change.rdma && { rdma: change.rdma }),
  };
}
