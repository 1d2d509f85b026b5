/** Where a container's control groups are, and how they are made: by ourselves, or by systemd. */
import { join } from 'node:path';
import { KeelsonError } from '../../ground/errors.ts';
import { cgroupDriver, cgroupPath, readText } from '../../kernel/cgroup.ts';
import type { Cgroup, CgroupPlan } from '../../kernel/cgroup-driver.ts';
import {
  deviceProperties,
  expandSlice,
  limitProperties,
  startProperties,
  systemdUnit,
  type SystemdUnit,
} from '../../kernel/systemd-unit.ts';
import { annotatedProperties } from '../../kernel/unit-annotations.ts';
import type { LinuxResources, Spec } from '../../spec/runtime.ts';
import type { UnitRecord } from './container-state.ts';
import type { Host } from './host.ts';
import { hasOwn, refuseLimits } from './rootless.ts';
import { Systemd } from './systemd.ts';

export interface Placed {
  readonly cgroup: Cgroup;
  readonly plan: CgroupPlan;
  readonly unit?: PlacedUnit;
}

export interface PlacedUnit extends SystemdUnit {
  /** The container's group lies below the unit's. */
  readonly subgroup?: string;
  /** Has systemd make the unit, with this process in it. */
  readonly start: (pid: number) => Promise<void>;
}

export interface PlaceOptions {
  readonly id: string;
  readonly spec: Spec;
}

/** Undefined for a container that stays in its caller's groups. */
export async function placeCgroup(host: Host, options: PlaceOptions): Promise<Placed | undefined> {
  const { facts, rootless, cgroupManager } = host;
  const { spec } = options;
  if (facts.cgroup.mode === 'none' || cgroupManager === 'disabled') return undefined;
  if (cgroupManager === 'systemd') return placeUnit(host, options);
  const path = cgroupPath({
    facts: facts.cgroup,
    rootless: rootless.cgroups,
    id: options.id,
    ...(spec.linux?.cgroupsPath !== undefined && { cgroupsPath: spec.linux.cgroupsPath }),
  });
  if (path === undefined) {
    refuseLimits(spec.linux?.resources ?? {}, facts.cgroup.mode === 'unified');
    if (!hasOwn(spec, 'pid'))
      host.warn(
        'a container with neither a cgroup nor a pid namespace of its own: not all of it can be found and ended. Such configuration is strongly discouraged',
      );
    return undefined;
  }
  return planned(host, spec, path, spec.linux?.resources ?? {});
}

function planned(host: Host, spec: Spec, path: string, resources: LinuxResources): Placed {
  const { facts, rootless } = host;
  const driver = cgroupDriver(facts.cgroup);
  const cgroup = rootless.cgroups
    ? withoutEmptyUnified(driver.locate(facts.cgroup, path))
    : driver.locate(facts.cgroup, path);
  const skipDevices = facts.inUserNamespace || rootless.cgroups;
  const plan = driver.create(facts.cgroup, { cgroup, resources, skipDevices }, readText);
  const uid = cgroup.version === 2 ? delegatedTo(spec) : undefined;
  return { cgroup, plan: uid === undefined ? plan : { ...plan, delegate: { uid, files: delegatedFiles() } } };
}

/** Beside version 1 there is nothing in version 2 to keep limits, and who delegates controllers does not delegate it: clone3(2) would be refused. */
function withoutEmptyUnified(cgroup: Cgroup): Cgroup {
  if (cgroup.version === 2) return cgroup;
  const { '': _, ...directories } = cgroup.directories;
  return { ...cgroup, directories };
}

async function placeUnit(host: Host, { id, spec }: PlaceOptions): Promise<Placed> {
  const { facts, rootless, environment } = host;
  const resources = spec.linux?.resources ?? {};
  const unit = systemdUnit(spec.linux?.cgroupsPath, id, rootless.cgroups ? 'user' : 'system');
  const slice = expandSlice(unit.slice);
  using systemd = await Systemd.connect(unit.manager, environment);
  const version = await systemd.version();
  const above = unit.manager === 'user' ? await systemd.controlGroup() : '/';
  const subgroup = subgroupOf(spec);
  if (spec.annotations?.['run.oci.delegate-cgroup'])
    host.warn('run.oci.delegate-cgroup is not supported: the container has the group above it to itself');
  const v2 = facts.cgroup.mode === 'unified';
  const limits = limitProperties(resources, version, v2);
  const placed = planned(host, spec, join(above, slice, unit.name, subgroup ?? ''), limits.resources);
  const properties = (pid: number) => [
    ...startProperties(unit, id, pid, v2),
    ...annotatedProperties(spec.annotations ?? {}),
    ...(facts.inUserNamespace || rootless.cgroups ? [] : deviceProperties(resources, v2)),
    ...oomPolicy(resources, version),
    ...limits.properties,
  ];
  return {
    cgroup: placed.cgroup,
    plan: { ...placed.plan, warnings: [...placed.plan.warnings, ...limits.warnings] },
    unit: {
      ...unit,
      ...(subgroup !== undefined && { subgroup }),
      async start(pid) {
        using connection = await Systemd.connect(unit.manager, environment);
        await connection.start(unit.name, properties(pid));
      },
    },
  };
}

/** What becomes of the others when one process is killed for want of memory; only a new unit can be told (systemd 253). */
function oomPolicy({ unified = {} }: LinuxResources, version: number): { name: string; type: string; value: string }[] {
  const group = unified['memory.oom.group']?.trim();
  if (version < 253 || (group !== '0' && group !== '1')) return [];
  return [{ name: 'OOMPolicy', type: 's', value: group === '1' ? 'kill' : 'continue' }];
}

/** crun's annotation: a group below the unit's, which leaves that one to systemd. */
function subgroupOf({ annotations = {} }: Spec): string | undefined {
  for (const key of ['run.oci.systemd.subgroup', 'run.oci.delegate-cgroup']) {
    const name = annotations[key];
    if (name && name.split('/').some((word) => word === '' || word === '.' || word === '..'))
      throw new KeelsonError('invalid-argument', `annotations["${key}"]: ${name} is not the name of a group`);
  }
  return annotations['run.oci.systemd.subgroup'] || undefined;
}

/**
 * A container's root that is another user on the host gets its group where it can see it as its own and write to it: in a cgroup namespace, through a
 * writable mount, as with runc.
 */
function delegatedTo(spec: Spec): number | undefined {
  const writable = spec.mounts?.some(
    (m) => m.type === 'cgroup' && m.destination === '/sys/fs/cgroup' && !(m.options ?? []).includes('ro'),
  );
  if (!writable || !hasOwn(spec, 'cgroup') || !hasOwn(spec, 'user')) return undefined;
  const root = spec.linux?.uidMappings?.find((m) => m.containerID === 0);
  return root?.hostID;
}

/** The kernel's own list (cgroups(7), "Delegating a hierarchy"). */
function delegatedFiles(): readonly string[] {
  const files = readText('/sys/kernel/cgroup/delegate')?.split('\n') ?? [];
  const found = files.filter((name) => /^[a-z._]+$/.test(name));
  return found.length > 0 ? found : ['cgroup.procs', 'cgroup.subtree_control', 'cgroup.threads'];
}

/** What is kept of a unit in a container's state. */
export function unitRecord({ name, manager, subgroup }: PlacedUnit): UnitRecord {
  return { name, manager, ...(subgroup !== undefined && { subgroup }) };
}
