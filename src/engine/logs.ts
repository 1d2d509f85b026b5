import { dirname } from 'node:path';
import type { Context } from '../ground/context.ts';
import { closeAll, inodeAt, LineReader, openLogFiles, tailOffset, type LogFile } from './log-file.ts';
import type { LogEntry, LogOptions } from './types.ts';
import { Wakeups } from './wakeups.ts';

export interface LogSource {
  /** The newest file of docker's json-file format. */
  readonly path: string;
  /** Directory that changes when a container exits. */
  readonly exits: string;
  /** Whether more may be written. */
  isLive(): boolean;
}

/**
 * A container's log, oldest entry first, in bounded memory however long it is. `tail` finds its place from the end.
 * With `follow` it waits for more, across rotations, until the container has stopped. Lines that aren't entries are skipped.
 */
export async function* readLogs(
  context: Context,
  source: LogSource,
  options: LogOptions = {},
): AsyncGenerator<LogEntry> {
  const wanted = new Wanted(options);
  if (options.tail === 0 && !options.follow) return;
  using woken = new Wakeups(options.follow ? [dirname(source.path), source.exits] : []);
  let files =
    (await inodeAt(source.path)) === undefined && !options.follow ? [] : await waitForFiles(context, source, woken);
  let current: LogFile | undefined;
  try {
    let offset = 0;
    if (options.tail !== undefined) ({ files, offset } = await skipToTail(files, options.tail));
    while ((current = files.shift())) {
      const reader = new LineReader(current.handle, offset);
      offset = 0;
      for (;;) {
        context.check('reading logs');
        const live = source.isLive(); // before the read: what was written before the end is read even so
        const lines = await reader.next();
        for (const line of lines) {
          const entry = wanted.parse(line);
          if (entry === 'past') return;
          if (entry !== undefined) yield entry;
        }
        if (lines.length > 0) continue;
        if (files.length > 0) break;
        if (!options.follow || Date.now() > wanted.until) return;
        const newest = await inodeAt(source.path);
        // Between the two steps of a rotation there is no newest file for a moment.
        if (newest !== undefined && newest !== current.inode) {
          files = await openLogFiles(source.path, current.inode);
          // What was written to this one between our last read and the rotation comes before them.
          if (files.length > 0) continue;
        }
        if (!live) return;
        await woken.next(context.signal, wanted.until - Date.now());
      }
      await current.handle.close();
    }
  } finally {
    await current?.handle.close();
    await closeAll(files);
  }
}

/** A container that was never started has no log; `logs -f` of it waits for the first line. */
async function waitForFiles(context: Context, source: LogSource, woken: Wakeups): Promise<LogFile[]> {
  while ((await inodeAt(source.path)) === undefined) {
    if (!source.isLive()) return [];
    await woken.next(context.signal);
    context.check('waiting for a log');
  }
  return openLogFiles(source.path);
}

/** Drops the files before the one in which the last `tail` lines begin; says where in it. */
async function skipToTail(files: LogFile[], tail: number): Promise<{ files: LogFile[]; offset: number }> {
  let missing = tail;
  for (let n = files.length - 1; n >= 0; n--) {
    const file = files[n];
    if (file === undefined) break;
    const found = await tailOffset(file.handle, missing);
    missing = found.missing;
    if (missing > 0) continue;
    await closeAll(files.slice(0, n));
    return { files: files.slice(n), offset: found.offset };
  }
  return { files, offset: 0 };
}

/** Which entries are asked for. */
class Wanted {
  readonly until: number;
  readonly #since: number;
  readonly #streams: ReadonlySet<string>;

  constructor(options: LogOptions) {
    this.until = options.until ?? Number.POSITIVE_INFINITY;
    this.#since = options.since ?? Number.NEGATIVE_INFINITY;
    const { stdout = true, stderr = true } = options;
    this.#streams = new Set([...(stdout ? ['stdout'] : []), ...(stderr ? ['stderr'] : [])]);
  }

  /** The entry; undefined when it isn't wanted or isn't one; `past` when it and all after it are too late. */
  parse(line: Buffer): LogEntry | 'past' | undefined {
    let record: { log?: unknown; stream?: unknown; time?: unknown };
    try {
      record = JSON.parse(line.toString('utf8')) as typeof record;
    } catch {
      return undefined;
    }
    const { log, stream, time } = record ?? {};
    if (typeof log !== 'string' || typeof time !== 'string' || (stream !== 'stdout' && stream !== 'stderr'))
      return undefined;
    if (this.#since !== Number.NEGATIVE_INFINITY || this.until !== Number.POSITIVE_INFINITY) {
      const at = millisecondsOf(time);
      if (at > this.until) return 'past';
      if (!(at >= this.#since)) return undefined;
    }
    return this.#streams.has(stream) ? { stream, time, line: log } : undefined;
  }
}

/** RFC 3339 with up to nine digits of a second, as milliseconds with fractions; NaN for anything else. */
export function millisecondsOf(time: string): number {
  const match = /^([^.]*)(\.\d+)?(Z|[+-]\d\d:\d\d)$/.exec(time);
  if (!match) return Number.NaN;
  return Date.parse(`${match[1]}${match[3]}`) + Number(match[2] ?? 0) * 1000;
}
