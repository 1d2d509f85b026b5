import type { Context } from '../ground/context.ts';
import type { Database } from '../store/database.ts';
import { anyOf, checkFilters, matchesLabels, matchesName } from './filters.ts';
import type { EngineEvent, Filters } from './types.ts';
import { Wakeups } from './wakeups.ts';

/** How many events are kept; older ones go as new ones come. */
const kept = 10_000;
const knownFilters = ['container', 'event', 'image', 'label', 'type', 'volume', 'network', 'daemon', 'scope'];

interface Row {
  id: number;
  type: EngineEvent['type'];
  action: string;
  actor: string;
  attributes: string;
  time: string;
}

/** What happened, in the order in which it was recorded, by whichever process. */
export class Events {
  readonly #db: Database;
  readonly #listeners = new Set<() => void>();

  constructor(db: Database) {
    this.#db = db;
  }

  /** Records one event; within a transaction it is recorded if and when that commits. */
  emit(type: EngineEvent['type'], action: string, id: string, attributes: Readonly<Record<string, string>> = {}): void {
    const time = nowNano();
    this.#db.run(
      'INSERT INTO events (time_nano, type, action, actor, attributes) VALUES (?, ?, ?, ?, ?)',
      time,
      type,
      action,
      id,
      JSON.stringify(attributes),
    );
    const last = this.#last();
    if (last % 500 === 0) this.#db.run('DELETE FROM events WHERE id <= ?', last - kept);
    for (const wake of this.#listeners) wake();
  }

  /**
   * Events from `since` on (milliseconds; only new ones without), to `until`; without `until`, or with one in the future,
   * it waits for more. `look` is called before each wait, for what nobody has recorded yet; changes of `watch` end the wait.
   */
  async *stream(
    context: Context,
    options: { since?: number; until?: number; filters?: Filters } = {},
    others: { look: () => Promise<void>; watch: readonly string[] } = { look: async () => {}, watch: [] },
  ): AsyncGenerator<EngineEvent> {
    const filters = options.filters ?? {};
    checkFilters(filters, knownFilters);
    const { until = Number.POSITIVE_INFINITY, since } = options;
    let after = since === undefined ? (until > Date.now() ? this.#last() : 0) : 0;
    using woken = this.#wakeups(others.watch);
    for (;;) {
      const rows = this.#db.all<Row>(
        `SELECT id, type, action, actor, attributes, CAST(time_nano AS TEXT) AS time FROM events
         WHERE id > ? AND time_nano >= ? ORDER BY id LIMIT 256`,
        after,
        BigInt(Math.floor((since ?? 0) * 1000)) * 1000n,
      );
      for (const row of rows) {
        after = row.id;
        const event = fromRow(row);
        if (Number(event.timeNano / 1_000_000n) > until) return;
        if (matches(event, filters)) yield event;
      }
      if (rows.length > 0) continue;
      if (Date.now() > until || context.signal.aborted) return;
      await others.look();
      await woken.next(context.signal, until - Date.now());
    }
  }

  #last(): number {
    return this.#db.get<{ id: number }>('SELECT coalesce(max(id), 0) AS id FROM events')?.id ?? 0;
  }

  /** Wakes on events of this process, and on any write to the database by others. */
  #wakeups(watch: readonly string[]): Wakeups {
    const wakeups = new Wakeups([`${this.#db.path}-wal`, ...watch]);
    this.#listeners.add(wakeups.wake);
    wakeups.onDispose = () => this.#listeners.delete(wakeups.wake);
    return wakeups;
  }
}

function fromRow(row: Row): EngineEvent {
  return {
    type: row.type,
    action: row.action,
    id: row.actor,
    attributes: JSON.parse(row.attributes) as Record<string, string>,
    timeNano: BigInt(row.time),
  };
}

function matches(event: EngineEvent, filters: Filters): boolean {
  const { attributes } = event;
  const isOf = (type: EngineEvent['type'], value: string): boolean =>
    event.type === type &&
    (event.id.startsWith(value) || attributes['name'] === value || matchesName(`^${value}$`, attributes['name'] ?? ''));
  return (
    anyOf(filters, 'type', (v) => event.type === v) &&
    anyOf(filters, 'event', (v) => event.action === v || event.action.startsWith(`${v}:`)) &&
    anyOf(filters, 'container', (v) => isOf('container', v)) &&
    anyOf(filters, 'volume', (v) => isOf('volume', v)) &&
    anyOf(filters, 'network', (v) => isOf('network', v)) &&
    anyOf(
      filters,
      'image',
      (v) => isOf('image', v) || attributes['image'] === v || attributes['image']?.replace(/:[^/]*$/, '') === v,
    ) &&
    matchesLabels(filters, attributes)
  );
}

/** Nanoseconds since the epoch, with the monotonic clock's digits below the millisecond. */
function nowNano(): bigint {
  return BigInt(Date.now()) * 1_000_000n + (process.hrtime.bigint() % 1_000_000n);
}
