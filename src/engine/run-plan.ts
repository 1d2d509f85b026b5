import { existsSync } from 'node:fs';
import { capabilityNames } from '../kernel/capabilities.ts';
import { cgroupDriver, cgroupPath, namesOfLimits, readText } from '../kernel/cgroup.ts';
import type { Cgroup } from '../kernel/cgroup-driver.ts';
import type { HostFacts } from '../kernel/facts.ts';
import { containerPlan, type ContainerPlan, type ContainerPlanInput } from '../runtime/container-plan.ts';
import { hostInput, processInput } from '../runtime/host-input.ts';
import type { RootSource } from '../runtime/rootfs.ts';
import { deniesSetgroups } from '../runtime/userns-steps.ts';
import type { LinuxResources, Process, Spec } from '../spec/runtime.ts';
import { containerSpec } from './container-spec.ts';
import { hostCapacity } from './host-capacity.ts';
import { type IdMap, idMapOf } from './id-map.ts';
import type { Joins } from './joins.ts';
import { checkLogOptions } from './log-options.ts';
import { type Attached, containerPaths, mountPoint, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { seccompFor } from './seccomp-profile.ts';
import { settableResources } from './validate-resources.ts';

type Subject = Pick<ContainerRecord, 'id' | 'name' | 'spec'>;
type Needed = Pick<Parts, 'paths' | 'facts' | 'volumes' | 'exitCommand'>;

/** What one run of a container is made from. */
export interface RunInput {
  readonly record: Subject;
  readonly root: RootSource;
  readonly attached: Attached;
  readonly joins: Joins;
  readonly warn: (message: string) => void;
  /** The files and directories that `start` makes aren't there yet: the plan is only looked at. */
  readonly preview?: boolean;
}

/** A container as an OCI config, with what goes beside it. */
export interface Laid {
  readonly spec: Spec;
  readonly process: Process;
  readonly idMap: IdMap | undefined;
  readonly cgroup: Cgroup | undefined;
  readonly seccomp: ContainerPlanInput['seccomp'];
}

export function layOut(parts: Needed, record: Subject, joins: Joins = {}): Laid {
  const { facts } = parts;
  const { mounts, path, args } = record.spec;
  const resources = settableResources(record.spec.config.resources ?? {}, hostCapacity(facts));
  const config = { ...record.spec.config, resources };
  const idMap = idMapOf(facts);
  const cgroup = cgroupOf(facts, record.id);
  const spec = containerSpec({
    id: record.id,
    config,
    args: [path, ...args],
    mounts,
    volumePath: (name) => parts.volumes.path(name),
    files: containerPaths(parts.paths, record.id),
    joins,
    ...(idMap && { idMap }),
    availableCapabilities: capabilityNames.filter((_, number) => facts.capabilities.effective.includes(number)),
    cgroupsPath: cgroup?.path ?? '',
    cgroupMount: cgroup !== undefined,
  });
  const process = spec.process ?? { user: { uid: 0, gid: 0 }, cwd: '/' };
  const seccomp = seccompFor(config, facts, process.capabilities?.bounding ?? [], parts.paths.run);
  return { spec, process, idMap, cgroup, seccomp };
}

/** The plan of a run, up to `keep`. Touches nothing; `start` carries it out, `explain` prints it. */
export function runPlan(parts: Needed, input: RunInput): ContainerPlan {
  const { facts, paths } = parts;
  const { record } = input;
  const { config } = record.spec;
  const { spec, process, idMap, cgroup, seccomp } = layOut(parts, record, input.joins);
  const host = hostInput(facts);
  return containerPlan({
    spec,
    ...host,
    mountFacts: { ...host.mountFacts, ...(input.preview && { sourceIsDirectory: toBeMade(parts, record) }) },
    root: input.root,
    mountPoint: mountPoint(paths),
    network: input.attached.steps,
    process: processInput(process, facts, {
      createCwd: true,
      setgroups: !idMap || !deniesSetgroups(idMap.mapper, idMap.gids),
      userNamespace: idMap !== undefined,
      init: config.init === true,
      warn: input.warn,
    }),
    user: { user: config.user ?? '', groupAdd: config.groupAdd ?? [], setHome: true },
    idMapper: idMap?.mapper ?? { kind: 'direct' },
    openStdin: config.openStdin === true,
    ...(cgroup && { cgroup: cgroupPlanOf(facts, cgroup, spec, idMap !== undefined, input.warn) }),
    ...(seccomp && { seccomp }),
    keep: keepOf(parts, record, cgroup),
  });
}

/** Whether a mount's source that `start` would make is a directory; undefined for what is there. */
function toBeMade(parts: Needed, record: Subject): (source: string) => boolean | undefined {
  const { data } = containerPaths(parts.paths, record.id);
  const made = record.spec.mounts.filter((mount) => mount.type === 'volume' || mount.createSource);
  const directories = new Set(made.map((m) => (m.type === 'volume' ? parts.volumes.path(m.name) : m.source)));
  return (source) =>
    source.startsWith(`${data}/`) ? false : directories.has(source) && !existsSync(source) ? true : undefined;
}

/** Where the container's control groups are; undefined for a user to whom none were delegated. */
export function cgroupOf(facts: HostFacts, id: string): Cgroup | undefined {
  const path = cgroupPath({ facts: facts.cgroup, rootless: facts.euid !== 0, id });
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

function keepOf(parts: Needed, record: Subject, cgroup: Cgroup | undefined): ContainerPlanInput['keep'] {
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

/** Limits that nobody can keep here, as warnings. */
export function limitsWithoutCgroup(facts: HostFacts, id: string, resources: LinuxResources): readonly string[] {
  if (cgroupOf(facts, id) !== undefined) return [];
  return namesOfLimits(resources).map(
    (name) => `${name} limits were discarded: no control groups are delegated to this user`,
  );
}
