import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '../ground/context.ts';
import { isKeelsonError, KeelsonError, messageOf } from '../ground/errors.ts';
import type { Kept, PlanHooks } from '../kernel/keel.ts';
import { attach as attachKeeper, type KeeperAttachment } from '../kernel/keeper.ts';
import { boundPortsTag } from '../network/bridge-network.ts';
import type { ContainerPlan } from '../runtime/container-plan.ts';
import { currentBoot, identityOf, isAlive, type ProcessIdentity, startTimeOf } from '../store/process-identity.ts';
import { attachmentOf } from './attachment.ts';
import { cleanUp } from './clean-up.ts';
import { containerEvent, networkEvent } from './container-events.ts';
import { removeRunFiles } from './container-files.ts';
import { resolveJoins } from './joins.ts';
import { ensureBindSource } from './mounts.ts';
import { type Attached, containerPaths, exitsFolder, mountPoint, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { removeLocked } from './remove-locked.ts';
import { needsExitCommand, runPlan } from './run-plan.ts';
import { settle } from './settle.ts';
import type { Attachment } from './types.ts';

/** Which streams a caller wants to be connected before the process starts. */
export interface StartOptions {
  readonly attach?: { readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean };
}

/** One attempt at running a container, with what must be undone when it fails. */
export class Run {
  readonly #parts: Parts;
  readonly #context: Context;
  readonly #record: ContainerRecord;
  #attached: Attached | undefined;
  #bound: readonly bigint[] = [];
  #plan: ContainerPlan | undefined;
  #kept: Kept | undefined;
  #connection: KeeperAttachment | undefined;

  constructor(parts: Parts, context: Context, record: ContainerRecord) {
    this.#parts = parts;
    this.#context = context;
    this.#record = record;
  }

  /** Everything that the plan refers to: directories, files, addresses, the root's layers. */
  async prepare(): Promise<void> {
    const [parts, context, record] = [this.#parts, this.#context, this.#record];
    const at = containerPaths(parts.paths, record.id);
    const joins = resolveJoins(parts, record.spec.config);
    for (const folder of [exitsFolder(parts.paths), mountPoint(parts.paths), at.run, at.data]) {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
    }
    rmSync(at.exitRecord, { force: true });
    for (const mount of record.spec.mounts) {
      if (mount.type === 'volume') await parts.volumes.ensureDirectory(mount.name);
      if (mount.type === 'bind') await ensureBindSource(mount);
    }
    const root = await parts.images.containerRoot(context, record.id, record.imageId);
    this.#attached = parts.network.attach(record);
    const { hosts, resolvConf } = this.#attached;
    writeFileSync(at.hostname, `${record.spec.config.hostname || record.id.slice(0, 12)}\n`, { mode: 0o644 });
    writeFileSync(at.hosts, hosts, { mode: 0o644 });
    writeFileSync(at.resolvConf, resolvConf, { mode: 0o644 });
    this.#plan = runPlan(parts, { record, root, attached: this.#attached, joins, warn: () => {} });
  }

  /** Runs the plan up to the gate, and writes down who waits there. */
  async keep(): Promise<void> {
    const planned = this.#plan;
    if (planned === undefined) throw new KeelsonError('internal', 'a run that was not prepared');
    const hooks: PlanHooks = {
      onReport: ({ tag, registers }) => {
        if (tag === boundPortsTag) this.#bound = registers;
      },
      onSync: ({ blobs, registers }) => {
        if (planned.continue === undefined) throw new KeelsonError('internal', 'a plan that syncs without need');
        return planned.continue(blobs, registers);
      },
    };
    this.#kept = await this.#parts.keel.keep(planned.plan, hooks, this.#context);
    const { pid, keeperPid } = this.#kept;
    this.#parts.records.update(this.#record.id, {
      pid,
      pidStart: startTimeOf(pid) ?? 0,
      keeper: keeperPid,
      keeperStart: startTimeOf(keeperPid) ?? 0,
      boot: currentBoot(),
      network: this.#attached?.network(this.#bound) ?? {},
    });
  }

  /** Connects before the gate opens, so that nothing of the output is missed; also where this process is to deal with the exit. */
  async attach({ attach }: StartOptions): Promise<Attachment | undefined> {
    const [parts, record] = [this.#parts, this.#record];
    const { autoRemove } = record.spec.config;
    // A restart takes place long after a command's own end, so that is left to the keeper's exit command.
    const control = needsExitCommand(record) && (parts.resident || (autoRemove === true && attach !== undefined));
    if (attach === undefined && !control) return undefined;
    this.#connection = await attachKeeper(containerPaths(parts.paths, record.id).socket, { ...attach, control });
    const attachment = attachmentOf(
      this.#connection,
      async (exitCode) => {
        const settled = await settle(parts, new Context({ trace: this.#context.trace }), record.id);
        if (control && settled?.state === 'restarting') parts.restartLater(record.id);
        return exitCode ?? settled?.exitCode ?? 137;
      },
      { control },
    );
    if (attach === undefined) return undefined;
    containerEvent(parts, record, 'attach');
    return attachment;
  }

  async go(): Promise<void> {
    await this.#kept?.start();
    const { id } = this.#record;
    this.#parts.db.immediate(() => {
      this.#parts.records.update(id, {
        state: 'running',
        phase: '',
        startedAt: Date.now(),
        finishedAt: 0,
        exitCode: 0,
        oomKilled: false,
        error: '',
        restartCount: this.#record.restartCount,
        restartAt: 0,
        stoppedByUser: false,
      });
      networkEvent(this.#parts, this.#record, 'connect');
      containerEvent(this.#parts, this.#record, 'start');
    });
  }

  /** The container is as before the attempt, but for the reason. A keeper that is still there ends by itself when it is abandoned. */
  async undo(failure: unknown): Promise<void> {
    const [parts, record] = [this.#parts, this.#record];
    const keeper = this.#kept && identityOf(this.#kept.keeperPid);
    this.#kept?.abandon();
    await this.#connection?.[Symbol.asyncDispose]();
    if (keeper !== undefined) await goneOf(keeper);
    // Whatever stopped the start, a fired signal above all, must not stop the undoing of it.
    const context = new Context({ trace: this.#context.trace });
    await cleanUp(parts, context, record);
    await removeRunFiles(containerPaths(parts.paths, record.id));
    const exitCode = exitCodeOf(failure);
    parts.db.immediate(() => {
      parts.network.release(record.id);
      parts.records.update(record.id, {
        phase: record.spec.config.autoRemove ? 'removing with volumes' : '',
        state: record.startedAt === 0 ? 'created' : 'exited',
        exitCode,
        error: messageOf(failure),
        pid: 0,
        keeper: 0,
        restartAt: 0,
        network: {},
      });
      containerEvent(parts, record, 'die', { exitCode: String(exitCode), execDuration: '0' });
    });
    if (record.spec.config.autoRemove) await removeLocked(parts, context, record, { volumes: true });
  }
}

/** Waits for a process to end; not for ever, since what it left is cleaned up anyhow. */
async function goneOf(process: ProcessIdentity): Promise<void> {
  for (let waited = 0; waited < 5000 && isAlive(process); waited++) await sleep(1);
}

/** As docker and shells have it: 127 for a command that isn't there, 126 for one that can't be executed. */
export function exitCodeOf(error: unknown): number {
  if (isKeelsonError(error, 'command-not-found')) return 127;
  return isKeelsonError(error, 'command-not-executable') ? 126 : 128;
}
