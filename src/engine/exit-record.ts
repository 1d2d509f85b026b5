import { existsSync, readFileSync } from 'node:fs';
import { oomKills } from '../kernel/cgroup-values.ts';
import { isAlive } from '../store/process-identity.ts';
import type { ContainerRecord } from './record.ts';

/** What the engine wants of what a keeper wrote; see native/record.c. */
export interface ExitRecord {
  readonly pid: number;
  readonly exitCode: number;
  /** Milliseconds since the epoch. */
  readonly finishedAt: number;
  readonly oomKilled: boolean;
}

export function hasExitRecord(path: string): boolean {
  return existsSync(path);
}

/** Undefined when there is none, or it is no record: it is renamed into place whole, so that is somebody else's doing. */
export function readExitRecord(path: string): ExitRecord | undefined {
  try {
    const record = JSON.parse(readFileSync(path, 'utf8')) as {
      pid: number;
      exitCode: number;
      finishedAt: string;
      snapshots: Record<string, string | null>;
    };
    return {
      pid: record.pid,
      exitCode: record.exitCode,
      finishedAt: Number(BigInt(record.finishedAt) / 1_000_000n),
      oomKilled: Object.values(record.snapshots).some((text) => oomKills(text ?? '') > 0),
    };
  } catch {
    return undefined;
  }
}

/** Whether the keeper that the record names is still there. */
export function keeperAlive(record: Pick<ContainerRecord, 'keeper' | 'keeperStart' | 'boot'>): boolean {
  return record.keeper > 0 && isAlive({ pid: record.keeper, start: record.keeperStart, boot: record.boot });
}
