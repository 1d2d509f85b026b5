/** `create` and the first half of `run`: from a bundle to a process that waits at its gate or runs already. */
import { renameSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fromSystemError } from '../../ground/errors.ts';
import { cgroupDriver, readText } from '../../kernel/cgroup.ts';
import type { Cgroup, CgroupPlan } from '../../kernel/cgroup-driver.ts';
import type { HostFacts } from '../../kernel/facts.ts';
import { parseMountInfo } from '../../kernel/facts-cgroup.ts';
import type { LinuxNamespace, Spec } from '../../spec/runtime.ts';
import { startTimeOf } from '../../store/process-identity.ts';
import { type CreatePlan, createPlan, createTags } from '../create-plan.ts';
import { hookFailure, hookFailureTag } from '../hook-steps.ts';
import { hostInput, processInput } from '../host-input.ts';
import { rdtGroup, type RdtGroup, resctrlMount } from '../intel-rdt.ts';
import { namespaceFile } from '../namespaces.ts';
import { deniesSetgroups } from '../userns-steps.ts';
import { extensionsOf } from './annotations.ts';
import { checkUnprivileged } from './check-spec.ts';
import type { Bundle } from './load-bundle.ts';
import { type ContainerState, freezerRecord, hookState } from './container-state.ts';
import { hookOptions, withHookFailure } from './hooks.ts';
import type { Host } from './host.ts';
import { listenForNotify, makeNotifyDirectory, withNotifySocket } from './notify-socket.ts';
import { seccompInput } from './seccomp-input.ts';
import type { Found } from './state-store.ts';
import { discard } from './discard.ts';
import { ownGroups } from './own-groups.ts';
import { placeCgroup, type Placed, unitRecord } from './place-cgroup.ts';
import {
  checkRootless,
  checkUser,
  hasNoGroups,
  hasOwn,
  idMapperOf,
  joinsWithoutGroups,
  refuseGroups,
} from './rootless.ts';

const CAP_SYS_ADMIN = 21;

export interface CreateOptions {
  readonly id: string;
  readonly bundle: Bundle;
  readonly consoleSocket?: string;
  readonly pidfdSocket?: string;
  /** The process may notify the service manager. */
  readonly notify?: boolean;
  readonly pidFile?: string;
  readonly preserveFds: number;
  readonly noPivot: boolean;
  readonly noNewKeyring: boolean;
  readonly environment: Readonly<Record<string, string>>;
  /** Go on at once instead of waiting for `start`. */
  readonly go: boolean;
}

export interface Created extends Found {
  readonly pid: number;
  readonly pidfd: number;
  /** The caller's descriptor of the terminal that nobody else has. */
  readonly terminal?: number;
  readonly cgroup: CgroupPlan | undefined;
  /** The caller's descriptor of the socket on which a process that was let go says that it is ready. */
  readonly notified?: number;
}

/** Reserves the name before all else; what fails afterwards is undone. */
export async function createContainer(host: Host, given: CreateOptions): Promise<Created> {
  const files = host.store.reserve(given.id);
  const options = given.notify ? withNotify(given, files) : given;
  let placed: Placed | undefined;
  let planned: CreatePlan;
  const rdt = rdtOf(options);
  try {
    if (options.notify) makeNotifyDirectory(files);
    placed = await placeCgroup(host, { id: options.id, spec: options.bundle.spec });
    for (const warning of placed?.plan.warnings ?? []) host.warn(warning);
    planned = planOf(host, options, placed, rdt);
  } catch (error) {
    host.store.remove(files);
    throw error;
  }
  let state = stateOf(options, placed, host, rdt);
  let child: { pid: number; pidfd: number } | undefined;
  let hookFailed: string | undefined;
  const ownPids = options.bundle.spec.linux?.namespaces?.some((n) => n.type === 'pid' && n.path === undefined);
  host.debug('nsexec container setup');
  try {
    // From here on `delete` knows what to look for, whoever dies meanwhile.
    host.store.begin(files, options.bundle.text, state);
    const notified = options.notify && options.go ? await listenForNotify(host, files) : undefined;
    const result = await host.runner.run(planned.plan, {
      ...(planned.rest && { ahead: planned.rest }),
      onReport(message) {
        const { tag, registers } = message;
        if (tag === hookFailureTag) hookFailed = hookFailure(message);
        if (tag !== createTags.started) return;
        child = { pid: Number(registers[0]), pidfd: Number(registers[1]) };
        host.debug('child process in init()');
        state = withPid(state, child.pid);
        host.store.save(files, state);
      },
      async onSync(message) {
        if (message.tag === createTags.unit) await placed?.unit?.start(Number(message.registers[0]));
        return planned.resume(message, (status, inside) => hookState(state, status, inside && ownPids ? 1 : undefined));
      },
    });
    host.debug('init: closing the pipe to signal completion');
    const at = (reg: { reg: number }) => Number(result.registers[reg.reg]);
    if (options.pidFile !== undefined) writePidFile(options.pidFile, at(planned.pid));
    return {
      state,
      files,
      pid: at(planned.pid),
      pidfd: at(planned.pidfd),
      ...(planned.terminal && { terminal: at(planned.terminal) }),
      cgroup: placed?.plan,
      ...(notified !== undefined && { notified }),
    };
  } catch (error) {
    await discard(host, { state, files }, { child });
    throw hookFailed === undefined ? error : withHookFailure(error, hookFailed);
  }
}

function planOf(host: Host, options: CreateOptions, placed: Placed | undefined, rdt: RdtGroup | undefined): CreatePlan {
  const { facts, store } = host;
  const { bundle } = options;
  const { spec } = bundle;
  const { namespaces } = spec.linux ?? {};
  const extensions = extensionsOf(spec);
  const pidfdSocket = options.pidfdSocket ?? extensions.pidfdReceiver;
  if (host.rootless.user) checkRootless(spec);
  const privileged = facts.capabilities.effective.includes(CAP_SYS_ADMIN);
  if (!privileged) checkUnprivileged(spec);
  if (hasOwn(spec, 'user')) checkUser(bundle.process, spec.linux?.uidMappings ?? [], spec.linux?.gidMappings ?? []);
  const idMapper = idMapperOf(facts);
  const noGroups = hasOwn(spec, 'user')
    ? deniesSetgroups(idMapper, spec.linux?.gidMappings ?? [])
    : joinsWithoutGroups(spec) || (facts.inUserNamespace && hasNoGroups('self'));
  if (noGroups) refuseGroups(bundle.process);
  return createPlan({
    spec: withoutOwn(spec, host.caller),
    ...withOwnGroups(hostInput(facts), spec, placed?.cgroup, facts),
    rootfs: bundle.rootfs,
    ...(placed && { cgroup: placed.plan }),
    ...(placed?.unit && { unit: { subgroup: placed.unit.subgroup !== undefined } }),
    ...seccompInput(host, spec, extensions),
    process: processInput(withListenFds(bundle.process, options), facts, {
      createCwd: true,
      setgroups: !noGroups && !extensions.keepGroups,
      userNamespace: namespaces?.some((n) => n.type === 'user') ?? false,
      warn: host.warn,
    }),
    idMapper,
    inUserNamespace: facts.inUserNamespace,
    privileged,
    ...(rdt && { rdt }),
    ...(facts.selinux && spec.linux?.mountLabel && { mountLabel: spec.linux.mountLabel }),
    ...(!options.go && { fifo: join(store.root, options.id, 'exec.fifo') }),
    ...(options.consoleSocket !== undefined && { consoleSocket: options.consoleSocket }),
    ...(pidfdSocket !== undefined && { pidfdSocket }),
    hooks: hookOptions(host, extensions, bundle.path),
    preserveFds: options.preserveFds + listenFds(options.environment),
    ...(host.channel !== undefined && { channel: host.channel }),
    newKeyring: !options.noNewKeyring,
    pivot: !options.noPivot,
    ...(options.noPivot && { bareMounts: bareMounts(bundle.rootfs) }),
    ...sharedParent(bundle),
  });
}

function withNotify(options: CreateOptions, files: Found['files']): CreateOptions {
  const spec = withNotifySocket(options.bundle.spec, files);
  return { ...options, bundle: { ...options.bundle, spec, process: spec.process ?? options.bundle.process } };
}

/** A namespace that is the caller's already need not be joined, and from a user namespace could not be. */
function withoutOwn(spec: Spec, caller: number): Spec {
  const inode = (path: string) => {
    try {
      return statSync(path).ino;
    } catch {
      return undefined;
    }
  };
  const own = ({ type, path }: LinuxNamespace): boolean => {
    if (path === undefined) return false;
    const theirs = inode(path);
    return theirs !== undefined && theirs === inode(`/proc/${caller}/ns/${namespaceFile[type]}`);
  };
  const namespaces = spec.linux?.namespaces ?? [];
  return namespaces.some(own)
    ? { ...spec, linux: { ...spec.linux, namespaces: namespaces.filter((n) => !own(n)) } }
    : spec;
}

type HostInput = ReturnType<typeof hostInput>;

/**
 * Without a cgroup namespace a new mount would show the machine's whole hierarchy, and a user namespace may not make one: the container's own
 * groups are bind-mounted.
 */
function withOwnGroups(input: HostInput, spec: Spec, cgroup: Cgroup | undefined, facts: HostFacts): HostInput {
  if (spec.linux?.namespaces?.some((n) => n.type === 'cgroup')) return input;
  const own = ownGroups(spec, cgroup, facts);
  return { ...input, mountFacts: { ...input.mountFacts, cgroup: { ...input.mountFacts.cgroup, own } } };
}

function bareMounts(rootfs: string): readonly string[] {
  return parseMountInfo(readText('/proc/self/mountinfo') ?? '')
    .filter(({ type, mountPoint }) => (type === 'proc' || type === 'sysfs') && !mountPoint.startsWith(`${rootfs}/`))
    .map(({ mountPoint }) => mountPoint)
    .reverse();
}

function listenFds(environment: Readonly<Record<string, string>>): number {
  const count = Number(environment['LISTEN_FDS'] ?? '0');
  return Number.isInteger(count) && count > 0 && count < 1024 ? count : 0;
}

/** Socket activation is passed on (sd_listen_fds(3)); in the container its receiver is process 1. */
function withListenFds(process: Bundle['process'], { environment }: CreateOptions): Bundle['process'] {
  const count = listenFds(environment);
  if (count === 0) return process;
  const names = environment['LISTEN_FDNAMES'];
  const more = [`LISTEN_FDS=${count}`, 'LISTEN_PID=1', ...(names === undefined ? [] : [`LISTEN_FDNAMES=${names}`])];
  return { ...process, env: [...(process.env ?? []), ...more] };
}

/** With a shared root the mount of the root file system would travel to the host through the mount it lies in. */
function sharedParent({ spec, rootfs }: Bundle): { privateParent?: string } {
  if (!spec.linux?.rootfsPropagation?.endsWith('shared')) return {};
  const points = parseMountInfo(readText('/proc/self/mountinfo') ?? '').map((m) => m.mountPoint);
  const parents = points.filter((p) => p === '/' || rootfs === p || rootfs.startsWith(`${p}/`));
  return { privateParent: parents.sort((a, b) => b.length - a.length)[0] ?? '/' };
}

function rdtOf({ id, bundle }: CreateOptions): RdtGroup | undefined {
  const { intelRdt } = bundle.spec.linux ?? {};
  const mount = intelRdt && resctrlMount();
  return mount === undefined ? undefined : rdtGroup(mount, id, intelRdt ?? {});
}

export function stateOf(
  { id, bundle }: Pick<CreateOptions, 'id' | 'bundle'>,
  placed: Placed | undefined,
  { facts, rootless }: Host,
  rdt?: RdtGroup,
): ContainerState {
  const { cgroup, unit } = placed ?? {};
  const freezer = cgroup && freezerRecord(cgroupDriver(facts.cgroup).freezer(cgroup));
  return {
    id,
    init_process_pid: 0,
    init_process_start: 0,
    created: new Date().toISOString(),
    rootless: rootless.user && rootless.cgroups,
    cgroup_paths: cgroup?.directories ?? {},
    namespace_paths: {},
    external_descriptors: [],
    intel_rdt_path: rdt?.directory ?? '',
    config: { rootfs: bundle.rootfs, labels: [`bundle=${bundle.path}`], version: '1.0.0' },
    keelson: {
      ociVersion: bundle.spec.ociVersion,
      bundle: bundle.path,
      annotations: bundle.spec.annotations ?? {},
      ...(cgroup && { cgroup }),
      ...(unit && { unit: unitRecord(unit) }),
      ...(rdt?.own.length && { rdtGroups: rdt.own }),
      ...(freezer && { freezer }),
      owner: facts.euid === 0 ? 'root' : String(facts.euid),
    },
  };
}

export function withPid(state: ContainerState, pid: number): ContainerState {
  const paths = Object.values(namespaceFile).map((file) => [
    `NEW${file === 'mnt' ? 'NS' : file.toUpperCase()}`,
    `/proc/${pid}/ns/${file}`,
  ]);
  return {
    ...state,
    init_process_pid: pid,
    init_process_start: startTimeOf(pid) ?? 0,
    namespace_paths: Object.fromEntries(paths) as Record<string, string>,
  };
}

/** Complete or not at all: callers watch for the name. */
export function writePidFile(path: string, pid: number): void {
  const next = join(dirname(path), `.${basename(path)}`);
  try {
    writeFileSync(next, String(pid), { mode: 0o666 });
    renameSync(next, path);
  } catch (error) {
    throw fromSystemError(error, `writing the pid file ${path}`);
  }
}
