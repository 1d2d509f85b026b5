/** `start`: lets a created container's process go. */
import { closeSync, constants, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { fromSystemError, KeelsonError } from '../../ground/errors.ts';
import { PlanBuilder } from '../../kernel/plan-builder.ts';
import { parseConfig } from '../../spec/config.ts';
import type { Hooks, Spec } from '../../spec/runtime.ts';
import { runHooks } from '../hook-steps.ts';
import { hookState, statusOf } from './container-state.ts';
import { killAll } from './discard.ts';
import type { Host } from './host.ts';
import type { Found } from './state-store.ts';

export async function startContainer(host: Host, found: Found): Promise<void> {
  const { state, files } = found;
  const status = statusOf(state, files);
  if (status === 'stopped') throw new KeelsonError('conflict', 'cannot start a container that has stopped');
  if (status !== 'created') throw new KeelsonError('conflict', `cannot start a container in the ${status} state`);
  openGate(files.fifo);
  await hooksAfterStart(host, found, specOf(found));
}

/** The name goes first: of two who start at once one finds it gone. */
function openGate(path: string): void {
  let fd: number;
  try {
    fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENXIO') throw new KeelsonError('conflict', 'container process is already dead', { cause: error });
    throw fromSystemError(error, 'opening the start gate');
  }
  try {
    unlinkSync(path);
    writeSync(fd, 'g');
  } catch (error) {
    throw new KeelsonError('conflict', 'cannot start an already running container', { cause: error });
  } finally {
    closeSync(fd);
  }
}

/** Poststart hooks; as with runc, one that fails ends the container. */
export async function hooksAfterStart(host: Host, found: Found, spec: Spec): Promise<void> {
  const hooks = spec.hooks?.poststart;
  if (!hooks?.length) return;
  const b = new PlanBuilder(host.facts.arch);
  runHooks(b, 'poststart', hooks, hookState(found.state, 'running'));
  try {
    await host.runner.run(b.build());
  } catch (error) {
    await killAll(host, found).catch(() => {});
    throw error;
  }
}

export async function hooksAfterStop(host: Host, found: Found): Promise<void> {
  let spec: Spec;
  try {
    spec = specOf(found);
  } catch {
    return;
  }
  await lateHooks(host, found, 'poststop', spec.hooks?.poststop, 'stopped');
}

async function lateHooks(
  host: Host,
  found: Found,
  kind: keyof Hooks,
  hooks: Hooks[keyof Hooks],
  status: string,
): Promise<void> {
  if (!hooks?.length) return;
  for (const hook of hooks) {
    const b = new PlanBuilder(host.facts.arch);
    runHooks(b, kind, [hook], hookState(found.state, status));
    try {
      await host.runner.run(b.build());
    } catch (error) {
      host.warn(error instanceof Error ? error.message : String(error));
    }
  }
}

/** The config a container was made from, as it was then. */
export function specOf({ files }: Found): Spec {
  try {
    return parseConfig(readFileSync(files.config, 'utf8'));
  } catch (error) {
    throw fromSystemError(error, `reading ${files.config}`);
  }
}
