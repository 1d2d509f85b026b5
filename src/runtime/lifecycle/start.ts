/** `start`: lets a created container's process go. */
import { closeSync, constants, existsSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { fromSystemError, KeelsonError, messageOf } from '../../ground/errors.ts';
import { parseConfig } from '../../spec/config.ts';
import type { Spec } from '../../spec/runtime.ts';
import { extensionsOf } from './annotations.ts';
import { hookState, statusOf } from './container-state.ts';
import { runHostHooks } from './hooks.ts';
import type { Host } from './host.ts';
import { listenForNotify, relayNotify } from './notify-socket.ts';
import type { Found } from './state-store.ts';

/** `undo` removes the container, which a poststart hook that fails ends (runtime.md#lifecycle). */
export async function startContainer(host: Host, found: Found, undo: () => Promise<void>): Promise<void> {
  const { state, files } = found;
  const status = statusOf(state, files);
  if (status === 'stopped') throw new KeelsonError('conflict', 'cannot start a container that has stopped');
  if (status === 'running') throw new KeelsonError('conflict', 'cannot start an already running container');
  if (status !== 'created') throw new KeelsonError('conflict', `cannot start a container in the ${status} state`);
  const spec = specOf(found);
  if (!spec.process) throw new KeelsonError('conflict', 'cannot start a container whose config has no process');
  const manager = host.environment['NOTIFY_SOCKET'];
  const notify = manager && existsSync(files.notify) ? await listenForNotify(host, files) : undefined;
  openGate(files.fifo);
  try {
    await hooksAfterStart(host, found, spec);
  } catch (error) {
    await undo();
    throw error;
  }
  const pid = state.init_process_pid;
  if (manager && notify !== undefined) await relayNotify(host, { socket: notify, manager, pid, mainPid: pid });
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

/** Poststart hooks. The caller removes the container when one fails. */
export async function hooksAfterStart(host: Host, found: Found, spec: Spec): Promise<void> {
  const hooks = spec.hooks?.poststart;
  if (!hooks?.length) return;
  const state = hookState(found.state, 'running');
  await runHostHooks(host, 'poststart', hooks, {
    state,
    extensions: extensionsOf(spec),
    bundle: found.state.keelson.bundle,
  });
}

/** Poststop hooks: all of them run, and what fails is a warning (runtime.md#lifecycle). */
export async function hooksAfterStop(host: Host, found: Found): Promise<void> {
  let spec: Spec;
  try {
    spec = specOf(found);
  } catch {
    return;
  }
  const state = hookState(found.state, 'stopped');
  for (const hook of spec.hooks?.poststop ?? []) {
    try {
      await runHostHooks(host, 'poststop', [hook], {
        state,
        extensions: extensionsOf(spec),
        bundle: found.state.keelson.bundle,
      });
    } catch (error) {
      const text = messageOf(error);
      const code = /exit status (\d+)/.exec(text)?.[1];
      // First what callers of crun look for, then what those of runc do.
      host.warn(code === undefined ? text : `poststop hook failed with exit code ${code}: ${text}`);
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
