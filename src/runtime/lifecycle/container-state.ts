/** What is known of one container between calls: `<root>/<id>/state.json`, in the layout that callers of runc read. */
import { accessSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Cgroup, Freezer } from '../../kernel/cgroup-driver.ts';
import type { SystemdManager } from '../../kernel/systemd-unit.ts';
import { startTimeOf } from '../../store/process-identity.ts';

export type Status = 'creating' | 'created' | 'running' | 'paused' | 'stopped';

/** The unit of systemd's that a container's control group is of. */
export interface UnitRecord {
  readonly name: string;
  readonly manager: SystemdManager;
  /** The container's group lies below the unit's. */
  readonly subgroup?: string;
}

export interface ContainerState {
  readonly id: string;
  readonly init_process_pid: number;
  /** Clock ticks after boot, field 22 of /proc/<pid>/stat: with it a pid names a process for good. */
  readonly init_process_start: number;
  readonly created: string;
  readonly rootless: boolean;
  readonly cgroup_paths: Readonly<Record<string, string>>;
  readonly namespace_paths: Readonly<Record<string, string>>;
  readonly external_descriptors: readonly string[];
  readonly intel_rdt_path: string;
  readonly config: { readonly rootfs: string; readonly labels: readonly string[]; readonly version: string };
  readonly keelson: {
    readonly ociVersion: string;
    readonly bundle: string;
    readonly annotations: Readonly<Record<string, string>>;
    readonly cgroup?: Cgroup;
    readonly unit?: UnitRecord;
    /** Of resctrl, to be removed with the container. */
    readonly rdtGroups?: readonly string[];
    readonly freezer?: { readonly path: string; readonly frozen: string };
    readonly owner: string;
  };
}

/** Its files. */
export interface ContainerFiles {
  readonly directory: string;
  readonly state: string;
  readonly config: string;
  readonly fifo: string;
  /** A directory for the socket that the process may notify. */
  readonly notify: string;
}

export function containerFiles(root: string, id: string): ContainerFiles {
  const directory = join(root, id);
  return {
    directory,
    state: join(directory, 'state.json'),
    config: join(directory, 'config.json'),
    fifo: join(directory, 'exec.fifo'),
    notify: join(directory, 'notify'),
  };
}

export function freezerRecord(freezer: Freezer | undefined): { path: string; frozen: string } | undefined {
  return freezer && { path: freezer.state.path, frozen: freezer.state.frozen.source };
}

/** Whether the process that was the container's first is still there, zombies not counted. */
export function isAlive(state: Pick<ContainerState, 'init_process_pid' | 'init_process_start'>): boolean {
  return state.init_process_pid > 0 && startTimeOf(state.init_process_pid) === state.init_process_start;
}

export function statusOf(state: ContainerState, files: ContainerFiles): Status {
  if (state.init_process_pid === 0) return 'creating';
  if (!isAlive(state)) return 'stopped';
  const { freezer } = state.keelson;
  if (freezer && isFrozen(freezer)) return 'paused';
  return exists(files.fifo) ? 'created' : 'running';
}

function isFrozen({ path, frozen }: { path: string; frozen: string }): boolean {
  try {
    return new RegExp(frozen, 'm').test(readFileSync(path, 'utf8'));
  } catch {
    return false;
  }
}

function exists(path: string): boolean {
  try {
    accessSync(path);
    return true;
  } catch {
    return false;
  }
}

/** The specification's state (runtime.md#state), as hooks get it on standard input; with the pid that the process has for them. */
export function hookState(state: ContainerState, status: string, pid: number = state.init_process_pid): string {
  return JSON.stringify({
    ociVersion: state.keelson.ociVersion,
    id: state.id,
    status,
    ...(state.init_process_pid !== 0 && status !== 'stopped' && { pid }),
    bundle: state.keelson.bundle,
    ...(Object.keys(state.keelson.annotations).length > 0 && { annotations: state.keelson.annotations }),
  });
}
