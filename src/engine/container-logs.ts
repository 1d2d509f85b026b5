import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { readLogs } from './logs.ts';
import { containerPaths, exitsFolder, type Parts } from './parts.ts';
import type { LogEntry, LogOptions } from './types.ts';
import { current, isStale } from './with-container.ts';

/** What the container has written; with `follow`, and what it will write until it ends. */
export async function* containerLogs(
  parts: Parts,
  context: Context,
  reference: string,
  options: LogOptions = {},
): AsyncGenerator<LogEntry> {
  const { id, spec } = await current(parts, context, reference);
  if (spec.config.logDriver === 'none') {
    throw new KeelsonError('unsupported', 'configured logging driver does not support reading');
  }
  const source = {
    path: containerPaths(parts.paths, id).log,
    exits: exitsFolder(parts.paths),
    isLive: (): boolean => {
      const record = parts.records.get(id);
      if (record === undefined || record.phase.startsWith('removing')) return false;
      if (record.phase === 'starting') return true;
      return (record.state === 'running' || record.state === 'paused') && !isStale(parts, record);
    },
  };
  yield* readLogs(context, source, options);
}
