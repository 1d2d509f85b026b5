/** `exec`: one more process in a running container. */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { fromSystemError, KeelsonError } from '../../ground/errors.ts';
import { readText } from '../../kernel/cgroup.ts';
import { type LinuxNamespaceType, namespaceTypes, type Process, type Spec } from '../../spec/runtime.ts';
import { cpuBits } from '../affinity-steps.ts';
import { schedulingOf } from '../create-plan.ts';
import { hostInput, processInput } from '../host-input.ts';
import { attachTag, confirmTag, joinPlan, type JoinPlanInput } from '../join-plan.ts';
import { namespaceFile } from '../namespaces.ts';
import { extensionsOf } from './annotations.ts';
import { hookState, isAlive, statusOf } from './container-state.ts';
import { writePidFile } from './create.ts';
import { groupsToJoin, movedGroup } from './exec-cgroups.ts';
import type { Host } from './host.ts';
import { checkUser, hasNoGroups, mapOf, refuseGroups } from './rootless.ts';
import { seccompInput } from './seccomp-input.ts';
import type { Found } from './state-store.ts';
import { Systemd } from './systemd.ts';

export interface ExecOptions {
  readonly found: Found;
  readonly spec: Spec;
  readonly process: Process;
  readonly consoleSocket?: string;
  readonly pidfdSocket?: string;
  readonly pidFile?: string;
  readonly preserveFds: number;
  readonly ignorePaused: boolean;
  /** Below the container's own group, by controller ('' for all). */
  readonly cgroup: Readonly<Record<string, string>>;
}

export async function execProcess(
  host: Host,
  options: ExecOptions,
): Promise<{ pid: number; pidfd: number; terminal?: number }> {
  const { found, process, spec } = options;
  const { state } = found;
  const { facts } = host;
  const status = statusOf(state, found.files);
  if (status === 'stopped' || status === 'creating') {
    throw new KeelsonError('conflict', 'cannot exec in a stopped container');
  }
  if (status === 'paused' && !options.ignorePaused) {
    throw new KeelsonError('conflict', 'cannot exec in a paused container (use --ignore-paused to override)');
  }
  const namespaces = namespaceTypes.filter((type) => isForeign(state.init_process_pid, host.caller, type));
  const userNamespace = namespaces.includes('user');
  if (userNamespace) {
    const pid = state.init_process_pid;
    checkUser(process, mapOf(pid, 'uid_map'), mapOf(pid, 'gid_map'));
  }
  const noGroups = hasNoGroups(state.init_process_pid);
  if (noGroups) refuseGroups(process);
  const extensions = extensionsOf(spec);
  const planned = joinPlan({
    arch: hostInput(facts).arch,
    pid: state.init_process_pid,
    namespaces,
    ...groups(host, options),
    ...seccompInput(host, spec, extensions),
    process: processInput(process, facts, {
      createCwd: false,
      setgroups: !noGroups && !extensions.keepGroups,
      userNamespace,
      warn: host.warn,
    }),
    terminal: process.terminal ?? false,
    ...(options.consoleSocket !== undefined && { consoleSocket: options.consoleSocket }),
    ...(options.pidfdSocket !== undefined && { pidfdSocket: options.pidfdSocket }),
    newKeyring: true,
    affinity: process.execCPUAffinity ?? {},
    preserveFds: options.preserveFds,
    ...(host.channel !== undefined && { channel: host.channel }),
    scheduling: schedulingOf(spec, process),
  });
  host.debug('nsexec container setup');
  const initial = process.execCPUAffinity?.initial;
  if (initial !== undefined) host.debug(`nsexec: affinity: 0x${cpuBits(initial).toString(16)}`);
  const result = await host.runner.run(planned.plan, {
    async onSync(message) {
      if (message.tag === attachTag) await attach(host, options, Number(message.registers[0]));
      if (message.tag === confirmTag && !isAlive(state))
        throw new KeelsonError('conflict', 'cannot exec in a stopped container');
      return planned.resume(message, () => hookState(state, 'running'));
    },
  });
  host.debug('child process in init()');
  host.debug('setns_init: about to exec');
  const at = (reg: { reg: number }) => Number(result.registers[reg.reg]);
  if (options.pidFile !== undefined) writePidFile(options.pidFile, at(planned.pid));
  return {
    pid: at(planned.pid),
    pidfd: at(planned.pidfd),
    ...(planned.terminal && { terminal: at(planned.terminal) }),
  };
}

/** The caller's namespaces count, as far as they may be looked at; else this process's, which is of the same mount and user namespace. */
export function isForeign(pid: number, caller: number, type: LinuxNamespaceType): boolean {
  const inode = (of: number | string) => {
    try {
      return statSync(`/proc/${of}/ns/${namespaceFile[type]}`).ino;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT' || of === caller) return undefined;
      // What can't be looked at must not be taken for the caller's own.
      throw fromSystemError(error, `looking at the ${type} namespace of process ${of}`);
    }
  };
  const theirs = inode(pid);
  return theirs !== undefined && theirs !== (inode(caller) ?? inode('self'));
}

function groups(
  host: Host,
  { found: { state }, cgroup: below }: ExecOptions,
): Pick<JoinPlanInput, 'cgroup' | 'moved' | 'attach'> {
  const { cgroup, unit } = state.keelson;
  if (!cgroup) return {};
  if (unit?.manager === 'user') return { attach: true };
  const asked = Object.keys(below).length > 0;
  const moved = asked ? undefined : movedGroup(cgroup, state.init_process_pid, host.facts.cgroup, readText);
  return moved ? { moved } : { cgroup: groupsToJoin(cgroup, below) };
}

/** A user may not move processes from a session's group to one of its manager's, but systemd does it for the user. */
async function attach(
  { environment, facts }: Host,
  { found: { state }, cgroup: below }: ExecOptions,
  pid: number,
): Promise<void> {
  const { cgroup, unit } = state.keelson;
  if (!cgroup || !unit) return;
  const asked = below['']?.replace(/^\/+/, '');
  const moved =
    asked === undefined ? movedGroup(cgroup, state.init_process_pid, facts.cgroup, readText)?.ofInit : undefined;
  const own = cgroup.directories[''] ?? '';
  const group = moved?.startsWith(`${own}/`) ? moved : join(own, asked ?? '');
  const top = unit.subgroup === undefined ? own : own.slice(0, -unit.subgroup.length - 1);
  using systemd = await Systemd.connect(unit.manager, environment);
  await systemd.attach(unit.name, group.slice(top.length) || '/', pid);
}
