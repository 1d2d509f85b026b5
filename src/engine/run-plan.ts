import { capabilityNames } from '../kernel/capabilities.ts';
import { cgroupDriver, cgroupPath, namesOfLimits, readText } from '../kernel/cgroup.ts';
import type { Cgroup } from '../kernel/cgroup-driver.ts';
import type { HostFacts } from '../kernel/facts.ts';
import { containerPlan, type ContainerPlan, type ContainerPlanInput } from '../runtime/container-plan.ts';
import { hostInput, processInput } from '../runtime/host-input.ts';
import type { RootSource } from '../runtime/rootfs.ts';
import type { LinuxResources, Spec } from '../spec/runtime.ts';
import { containerSpec } from './container-spec.ts';
import { idMapOf } from './id-map.ts';
import type { Joins } from './joins.ts';
import { checkLogOptions } from './log-options.ts';
import { type Attached, containerPaths, mountPoint, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { seccompFor } from './seccomp-profile.ts';

/** What one run of a container is made from. */
export interface RunInput {
  readonly record: Pick<ContainerRecord, 'id' | 'name' | 'spec'>;
  readonly root: RootSource;
  readonly attached: Attached;
  readonly joins: Joins;
  readonly warn: (message: string) => void;
}

/** The plan of a run, up to `keep`. Touches nothing; `start` carries it out, `explain` prints it. */
export function runPlan(
  parts: Pick<Parts, 'paths' | 'facts' | 'volumes' | 'exitCommand'>,
  input: RunInput,
): ContainerPlan {
  const { facts, paths } = parts;
  const { record } = input;
  const { config, mounts, path, args } = record.spec;
  const at = containerPaths(paths, record.id);
  const idMap = idMapOf(config, facts);
  const cgroup = cgroupOf(facts, record.id);
  const spec = containerSpec({
    id: record.id,
    config,
    args: [path, ...args],
    mounts,
    volumePath: (name) => parts.volumes.path(name),
    files: at,
    joins: input.joins,
    ...(idMap && { idMap }),
    availableCapabilities: capabilityNames.filter((_, number) => facts.capabilities.effective.includes(number)),
    cgroupsPath: cgroup?.path ?? '',
    cgroupMount: cgroup !== undefined,
  });
  const process = processInput(spec.process ?? { user: { uid: 0, gid: 0 }, cwd: '/' }, facts, {
    createCwd: true,
    setgroups: idMap?.mapper.kind !== 'self',
    userNamespace: idMap !== undefined,
    init: config.init === true,
    warn: input.warn,
  });
  const seccomp = seccompFor(config, facts);
  return containerPlan({
    spec,
    ...hostInput(facts),
    root: input.root,
    mountPoint: mountPoint(paths),
    network: input.attached.steps,
    process,
    user: { user: config.user ?? '', groupAdd: config.groupAdd ?? [], setHome: true },
    idMapper: idMap?.mapper ?? { kind: 'direct' },
    openStdin: config.openStdin === true,
    ...(cgroup && { cgroup: cgroupPlanOf(facts, cgroup, spec, idMap !== undefined, input.warn) }),
    ...(seccomp && { seccomp }),
    keep: keepOf(parts, record, cgroup),
  });
}

/** Where the container's control groups are; undefined for a user to whom none were delegated. */
export function cgroupOf(facts: HostFacts, id: string): Cgroup | undefined {
  const path = cgroupPath({ facts: facts.cgroup, euid: facts.euid, id });
  return path === undefined ? undefined : cgroupDriver(facts.cgroup).locate(facts.cgroup, path);
}

function cgroupPlanOf(
  facts: HostFacts,
  cgroup: Cgroup,
  spec: Spec,
  skipDevices: boolean,
  warn: (message: string) => void,
): NonNullable<ContainerPlanInput['cgroup']> {
  const resources: LinuxResources = spec.linux?.resources ?? {};
  const plan = cgroupDriver(facts.cgroup).create(facts.cgroup, { cgroup, resources, skipDevices }, readText);
  for (const warning of plan.warnings) warn(warning);
  return plan;
}

function keepOf(
  parts: Pick<Parts, 'paths' | 'facts' | 'exitCommand'>,
  record: RunInput['record'],
  cgroup: Cgroup | undefined,
): ContainerPlanInput['keep'] {
  const { config } = record.spec;
  const at = containerPaths(parts.paths, record.id);
  const limits = checkLogOptions(config);
  return {
    stdinOnce: config.stdinOnce === true,
    socket: at.socket,
    exitRecord: at.exitRecord,
    snapshots: cgroup === undefined ? [] : cgroupDriver(parts.facts.cgroup).oomFiles(cgroup),
    ...(limits && { log: { path: at.log, maxSize: limits.maxSize, maxFiles: limits.maxFiles } }),
    ...(needsExitCommand(record) && { exitCommand: [...parts.exitCommand, record.id] }),
  };
}

/** Only where an exit leads to more than a record. */
export function needsExitCommand(record: Pick<ContainerRecord, 'spec'>): boolean {
  const { autoRemove, restart } = record.spec.config;
  return autoRemove === true || (restart !== undefined && restart.name !== 'no');
}

/** Limits that nobody can keep here, as docker says it. */
export function limitsWithoutCgroup(facts: HostFacts, id: string, resources: LinuxResources): readonly string[] {
  if (cgroupOf(facts, id) !== undefined) return [];
  return namesOfLimits(resources).map(
    (name) => `${name} limits were discarded: no control groups are delegated to this user`,
  );
}
