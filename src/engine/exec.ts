import { randomBytes } from '../ground/crypto.ts';
import { mkdirSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { capabilityNames } from '../kernel/capabilities.ts';
import type { Cgroup } from '../kernel/cgroup-driver.ts';
import type { Kept } from '../kernel/keel.ts';
import { attach as attachKeeper } from '../kernel/keeper.ts';
import type { ContainerPlan } from '../runtime/container-plan.ts';
import { execPlan, type ExecPlanInput } from '../runtime/exec-plan.ts';
import { hostInput, processInput } from '../runtime/host-input.ts';
import { startError } from '../runtime/start-error.ts';
import { deniesSetgroups } from '../runtime/userns-steps.ts';
import { isAlive } from '../store/process-identity.ts';
import { attachmentOf } from './attachment.ts';
import { containerEvent } from './container-events.ts';
import { consoleSize } from './container-spec.ts';
import { hasExitRecord, readExitRecord } from './exit-record.ts';
import { mergeEnv } from './merge-config.ts';
import { containerPaths, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { layOut } from './run-plan.ts';
import type { Attachment, ExecConfig } from './types.ts';
import { checkUser, invalid } from './validate.ts';
import { running } from './with-container.ts';

/** Runs one more process in a container. Its stdio is connected before it starts; with `detach` to nothing. */
export async function exec(parts: Parts, context: Context, reference: string, config: ExecConfig): Promise<Attachment> {
  checkConfig(config);
  const record = await running(parts, context, reference);
  if (record.state === 'paused') {
    throw new KeelsonError('conflict', `Container ${record.id} is paused, unpause the container before exec`);
  }
  const id = randomBytes(32).toString('hex');
  const { execs } = containerPaths(parts.paths, record.id);
  await sweep(execs);
  const folder = join(execs, id);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const attributes = { execID: id };
  containerEvent(parts, record, `exec_create: ${config.command.join(' ')}`, attributes);
  let kept: Kept | undefined;
  try {
    const plan = planOf(parts, record, config, folder);
    kept = await context.span('keep', async () => keepProcess(parts, context, plan));
    // The pid was the container's when the plan opened it, since it still is.
    if (!isAlive({ pid: record.pid, start: record.pidStart, boot: record.boot })) {
      throw new KeelsonError('conflict', `container ${record.id} is not running`);
    }
    const streams = config.detach !== true;
    const wanted = { stdin: streams && config.stdin === true, stdout: streams, stderr: streams };
    const keeper = await attachKeeper(join(folder, 'keeper.sock'), wanted);
    containerEvent(parts, record, `exec_start: ${config.command.join(' ')}`, attributes);
    await kept.start();
    return attachmentOf(keeper, async (code) => finish(parts, record, folder, id, code), { control: false });
  } catch (error) {
    kept?.abandon();
    await rm(folder, { recursive: true, force: true });
    throw startError(error);
  }
}

function checkConfig(config: ExecConfig): void {
  if (config.command.length === 0 || config.command[0] === '') throw invalid('No exec command specified');
  const words = [...config.command, ...(config.env ?? []), config.workingDir ?? '', config.user ?? ''];
  if (words.some((word) => word.includes('\0'))) throw invalid('exec: an argument contains a NUL byte');
  checkUser(config.user ?? '');
  if (config.workingDir && !config.workingDir.startsWith('/')) throw invalid('Cwd must be an absolute path');
}

function planOf(parts: Parts, record: ContainerRecord, config: ExecConfig, folder: string): ContainerPlan {
  const { facts } = parts;
  const { process, idMap, cgroup, seccomp } = layOut(parts, record);
  const given = capabilityNames.filter((_, number) => facts.capabilities.effective.includes(number));
  const capabilities = config.privileged
    ? { bounding: given, effective: given, permitted: given }
    : process.capabilities;
  const own = {
    ...process,
    terminal: config.tty === true,
    ...(config.tty && config.consoleSize && { consoleSize: consoleSize(config.consoleSize) }),
    args: config.command,
    env: mergeEnv([...(config.env ?? []), ...(config.tty ? ['TERM=xterm'] : [])], process.env ?? []),
    cwd: config.workingDir || process.cwd,
    ...(capabilities && { capabilities }),
  };
  return execPlan({
    ...hostInput(facts),
    pid: record.pid,
    userNamespace: idMap !== undefined,
    ...(cgroup && { cgroup: joining(cgroup) }),
    ...(seccomp && !config.privileged && { seccomp }),
    process: processInput(own, facts, {
      createCwd: false,
      setgroups: !idMap || !deniesSetgroups(idMap.mapper, idMap.gids),
      userNamespace: idMap !== undefined,
    }),
    user: {
      user: config.user || record.spec.config.user || '',
      groupAdd: config.user ? [] : (record.spec.config.groupAdd ?? []),
      setHome: true,
    },
    terminal: config.tty === true,
    openStdin: config.stdin === true,
    keep: {
      stdinOnce: true,
      socket: join(folder, 'keeper.sock'),
      exitRecord: join(folder, 'exit.json'),
      snapshots: [],
    },
  });
}

/** The groups exist: the process only joins them. */
function joining(cgroup: Cgroup): NonNullable<ExecPlanInput['cgroup']> {
  const leaves = new Set(Object.values(cgroup.directories));
  const cloneInto = cgroup.directories[''];
  return {
    directories: [...leaves].map((path) => ({ path, writes: [], leaf: true })),
    ...(cloneInto !== undefined && { cloneInto }),
  };
}

async function keepProcess(parts: Parts, context: Context, plan: ContainerPlan): Promise<Kept> {
  return parts.keel.keep(
    plan.plan,
    {
      onSync: ({ blobs, registers }) => {
        if (plan.continue === undefined) throw new KeelsonError('internal', 'a plan that syncs without need');
        return plan.continue(blobs, registers);
      },
    },
    context,
  );
}

async function finish(
  parts: Parts,
  record: ContainerRecord,
  folder: string,
  id: string,
  code: number | undefined,
): Promise<number> {
  const exitCode = code ?? readExitRecord(join(folder, 'exit.json'))?.exitCode ?? 137;
  await rm(folder, { recursive: true, force: true });
  containerEvent(parts, record, 'exec_die', { execID: id, exitCode: String(exitCode) });
  return exitCode;
}

/** Directories of processes that ended when nobody was connected to them. */
async function sweep(execs: string): Promise<void> {
  for (const name of await readdir(execs).catch(() => [])) {
    const folder = join(execs, name);
    if (hasExitRecord(join(folder, 'exit.json')) && !hasExitRecord(join(folder, 'keeper.sock'))) {
      await rm(folder, { recursive: true, force: true });
    }
  }
}
