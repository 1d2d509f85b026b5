import { KeelsonError } from '../ground/errors.ts';
import { hasExitRecord } from './exit-record.ts';
import { containerPaths, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import type { ContainerConfig } from './types.ts';

/** pids of the containers whose namespaces a container joins. */
export interface Joins {
  readonly pid?: number;
  readonly ipc?: number;
  readonly network?: number;
}

/** Looks up the containers that `container:ID` modes name; they must run. */
export function resolveJoins(parts: Pick<Parts, 'records' | 'paths'>, config: ContainerConfig): Joins {
  const pidOf = (mode: string | undefined): number | undefined => {
    if (!mode?.startsWith('container:')) return undefined;
    const other = parts.records.find(mode.slice('container:'.length));
    if (!isRunning(parts, other)) {
      throw new KeelsonError(
        'conflict',
        `cannot join namespace of a non running container: container ${other.id} is ${other.state}`,
      );
    }
    if (mode === config.ipcMode && ['private', 'none'].includes(other.spec.config.ipcMode ?? '')) {
      throw new KeelsonError('conflict', `non-shareable IPC (hint: use IpcMode:shareable for the donor container)`);
    }
    return other.pid;
  };
  const [pid, ipc, network] = [pidOf(config.pidMode), pidOf(config.ipcMode), pidOf(config.network)];
  return {
    ...(pid !== undefined && { pid }),
    ...(ipc !== undefined && { ipc }),
    ...(network !== undefined && { network }),
  };
}

/** By the record, unless its keeper has already said that it ended. */
export function isRunning(parts: Pick<Parts, 'paths'>, record: ContainerRecord): boolean {
  const live = record.state === 'running' || record.state === 'paused';
  return live && record.phase === '' && !hasExitRecord(containerPaths(parts.paths, record.id).exitRecord);
}
