import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Context } from '../ground/context.ts';
import { KeelsonError, messageOf } from '../ground/errors.ts';
import { containerPids } from './container-pids.ts';
import type { Parts } from './parts.ts';
import { processFacts } from './process-table.ts';
import { columnsFor, hostNow } from './ps-columns.ts';
import { invalid } from './validate.ts';
import { running } from './with-container.ts';

export interface ProcessTable {
  readonly titles: readonly string[];
  readonly processes: readonly (readonly string[])[];
}

/**
 * The container's processes as `ps` on the host shows them. Nothing of the container's is run. What the usual arguments ask for
 * is read from /proc; the host's own ps is asked for the rest.
 */
export async function top(
  parts: Parts,
  context: Context,
  reference: string,
  psArgs: readonly string[] = [],
): Promise<ProcessTable> {
  const record = await running(parts, context, reference);
  const pids = await containerPids(parts.facts, record);
  const columns = columnsFor(psArgs);
  if (columns === undefined) return hostPs(context, psArgs, new Set(pids));
  const host = hostNow();
  const processes = pids.flatMap((pid) => processFacts(pid) ?? []);
  return {
    titles: columns.map((c) => c.title),
    processes: processes.map((p) => columns.map((c) => c.value(p, host))),
  };
}

/** Rows are told by their PID column, so it must be there under that name. */
async function hostPs(context: Context, args: readonly string[], pids: ReadonlySet<number>): Promise<ProcessTable> {
  const words = args.flatMap((arg) => arg.split(/\s+/)).filter((word) => word !== '');
  if (words.some((word) => /(^|,)pid=/i.test(word))) throw invalid('ps: the PID column may not be renamed');
  let text: string;
  try {
    ({ stdout: text } = await promisify(execFile)('ps', words, { signal: context.signal, maxBuffer: 64 << 20 }));
  } catch (error) {
    throw new KeelsonError('invalid-argument', `ps: ${messageOf(error).split('\n').at(-1)}`, { cause: error });
  }
  const [head = '', ...rows] = text.split('\n').filter((row) => row !== '');
  const titles = head.trim().split(/\s+/);
  const at = titles.indexOf('PID');
  if (at < 0) throw invalid("Couldn't find PID field in ps output");
  const processes = rows
    .map((row) => {
      // The last column holds the rest of the line, spaces and all.
      const cells = row.trim().split(/\s+/);
      return [...cells.slice(0, titles.length - 1), cells.slice(titles.length - 1).join(' ')];
    })
    .filter((cells) => pids.has(Number(cells[at])));
  return { titles, processes };
}
