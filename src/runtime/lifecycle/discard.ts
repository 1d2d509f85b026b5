/** Ending a container for good: its processes, its control groups, its directory. */
import { readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { KeelsonError, messageOf } from '../../ground/errors.ts';
import { AT_FDCWD, SIGKILL } from '../../kernel/constants.ts';
import { PlanBuilder } from '../../kernel/plan-builder.ts';
import type { HostFacts } from '../../kernel/facts.ts';
import type { ContainerState, UnitRecord } from './container-state.ts';
import type { Host } from './host.ts';
import type { Found } from './state-store.ts';
import { isAlive } from './container-state.ts';
import { Systemd } from './systemd.ts';
import { signalProcess } from './signal.ts';

/** Undoes what a creation has come to. `child`: the caller's own child, not reaped yet. */
export async function discard(
  host: Host,
  found: Found,
  options: { child?: { pid: number; pidfd: number } | undefined } = {},
): Promise<void> {
  const { child } = options;
  try {
    if (child) {
      const b = new PlanBuilder(host.facts.arch);
      b.doing('ending the process');
      b.sys('pidfd_send_signal', [child.pidfd, SIGKILL, 0, 0], { on: { any: 'continue' } });
      b.sys('wait4', [child.pid, 0, 0, 0], { on: { any: 'continue' } });
      await host.runner.run(b.build());
    }
  } catch {
    killByNumber(found.state); // the caller is gone, and with it its child's parent
  }
  await killAll(host, found).catch(() => {});
  await removeGroups(host, found.state).catch(() => {});
  host.store.remove(found.files);
}

function killByNumber(state: ContainerState): void {
  try {
    if (state.init_process_pid > 0 && isAlive(state)) process.kill(state.init_process_pid, 'SIGKILL');
  } catch {
    // it has ended by itself
  }
}

/** SIGKILL to the first process and to whatever is in its groups; resolves when nobody is left. */
export async function killAll(host: Host, { state }: Found): Promise<void> {
  const deadline = Date.now() + 10_000;
  thaw(state);
  killGroup(state);
  if (isAlive(state)) await signalProcess(host, state, SIGKILL).catch(() => {});
  for (let wait = 1; ; wait = Math.min(wait * 2, 50)) {
    const pids = groupPids(state);
    if (pids.length === 0 && !isAlive(state)) return;
    if (Date.now() > deadline) {
      throw new KeelsonError('timeout', `container ${state.id}: processes ${pids.join(', ')} don't end`);
    }
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // gone meanwhile
      }
    }
    if (wait > 10) thawElsewhere(state);
    await sleep(wait);
  }
}

/** A process that does not end may have been put into another group of version 1 that is frozen. */
function thawElsewhere({ init_process_pid: pid, keelson: { cgroup } }: ContainerState): void {
  const own = cgroup?.directories['freezer'];
  if (!cgroup || !own?.endsWith(cgroup.path)) return;
  try {
    const where = /^\d+:freezer:(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1];
    if (where !== undefined && where !== '/')
      writeThawed(join(own.slice(0, -cgroup.path.length), where, 'freezer.state'));
  } catch {
    // it has ended
  }
}

/** Version 2 ends all that is in a group and below it, whatever is being forked meanwhile (Linux 5.14). */
function killGroup(state: ContainerState): void {
  const directory = state.keelson.cgroup?.directories[''];
  try {
    if (directory !== undefined) writeFileSync(join(directory, 'cgroup.kill'), '1');
  } catch {
    // the group is gone, or the kernel is older
  }
}

/** Everyone in the container's groups and below them. */
export function groupPids(state: ContainerState): readonly number[] {
  const pids = new Set<number>();
  const cgroup = state.keelson.cgroup;
  const directory =
    cgroup?.directories['freezer'] ??
    cgroup?.directories['pids'] ??
    cgroup?.directories[''] ??
    Object.values(cgroup?.directories ?? {})[0];
  const walk = (path: string): void => {
    try {
      for (const line of readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n'))
        if (line !== '') pids.add(Number(line));
      for (const entry of readdirSync(path, { withFileTypes: true }))
        if (entry.isDirectory()) walk(join(path, entry.name));
    } catch {
      // the group is gone
    }
  };
  if (directory !== undefined) walk(directory);
  return [...pids].sort((a, b) => a - b);
}

function thaw(state: ContainerState): void {
  const freezer = state.keelson.freezer;
  if (!freezer) return;
  try {
    writeThawed(freezer.path);
  } catch {
    // the group is gone
  }
}

function writeThawed(path: string): void {
  if (path.endsWith('freezer.state')) writeFileSync(path, 'THAWED');
  else writeFileSync(join(path, '..', 'cgroup.freeze'), '0');
}

function groupsOf({ keelson: { cgroup, rdtGroups = [] } }: ContainerState): readonly string[] {
  return [...new Set([...Object.values(cgroup?.directories ?? {}), ...rdtGroups])];
}

/** Groups that the container made beneath its own go with them. EBUSY lasts until the kernel is done with the last process. */
export async function removeGroups(host: Host, state: ContainerState): Promise<void> {
  if (state.keelson.unit) await stopUnit(host, state.keelson.unit);
  const directories = groupsOf(state);
  for (const directory of directories) {
    for (let tries = 0; ; tries++) {
      try {
        removeGroup(directory);
        break;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'ENOENT') break;
        if (code !== 'EBUSY' || tries > 200) {
          throw new KeelsonError('conflict', `removing the cgroup ${directory}: ${code ?? String(error)}`, {
            cause: error,
          });
        }
        await sleep(Math.min(tries + 1, 20));
      }
    }
  }
}

/** The unit ends by itself with its last process, but one that failed stays, and a user's manager may have been too slow to notice. */
async function stopUnit({ environment, warn }: Host, { name, manager }: UnitRecord): Promise<void> {
  try {
    using systemd = await Systemd.connect(manager, environment);
    await systemd.stop(name);
  } catch (error) {
    warn(`removing the unit ${name}: ${messageOf(error)}`);
  }
}

function removeGroup(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EBUSY') throw error;
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (entry.isDirectory()) removeGroup(join(directory, entry.name));
    }
    rmdirSync(directory);
  }
}

/** What the caller itself can do when the process it waited for has ended, the container's directory included. */
export function farewellPlan(found: Found, facts: HostFacts): ReturnType<PlanBuilder['build']> {
  const AT_REMOVEDIR = 0x200;
  const b = new PlanBuilder(facts.arch);
  b.group('cgroup').doing(`removing container ${found.state.id}`);
  for (const directory of groupsOf(found.state)) {
    b.sys('unlinkat', [AT_FDCWD, directory, AT_REMOVEDIR], { on: { ENOENT: 'continue', EBUSY: { retryMs: 50 } } });
  }
  for (const file of [found.files.state, found.files.config]) b.sys('unlinkat', [AT_FDCWD, file, 0]);
  b.sys('unlinkat', [AT_FDCWD, found.files.directory, AT_REMOVEDIR]);
  return b.build();
}
