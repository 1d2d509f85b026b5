import { randomBytes } from '../ground/crypto.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import { abortError, type Context } from '../ground/context.ts';
import type { Database } from './database.ts';
import { isAlive, ownIdentity } from './process-identity.ts';

export const leasesSchema = `
  CREATE TABLE leases (
    key TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    pid INTEGER NOT NULL,
    start INTEGER NOT NULL,
    boot TEXT NOT NULL,
    doing TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
`;

interface LeaseRow {
  token: string;
  pid: number;
  start: number;
  boot: string;
  doing: string;
}

/** Begins the keys of claims. Keys are ASCII, so '~' sorts after every continuation. */
const claimed = 'claim:';

export interface Lease extends Disposable {
  readonly key: string;
  release(): void;
}

/**
 * Locks across processes, one per key (`container:<id>`, `volume:<name>`): a row names the process that holds it. A holder that
 * died, whenever that was, is told by its pid and start time, and its lease passes on. Not re-entrant.
 */
export class Leases {
  readonly #db: Database;
  /** Turns within this process, so that its own operations queue up in order instead of polling. */
  readonly #turns = new Map<string, Promise<void>>();
  readonly #token = randomBytes(8).toString('hex');

  readonly #claims = new Set<string>();

  constructor(db: Database) {
    this.#db = db;
    db.beforeClose(() => {
      for (const key of this.#claims) this.unclaim(key);
    });
  }

  /**
   * Says that this process is about to deal with something, of which nothing may remain if it is killed before: nobody waits for
   * a claim, but `abandoned` tells of it when the process dies without `unclaim` or closing the database.
   */
  claim(key: string, doing: string): void {
    this.#insert(`${claimed}${key}`, doing);
    this.#claims.add(key);
  }

  unclaim(key: string): void {
    if (this.#claims.delete(key)) this.#dropClaim(key);
  }

  /** Claims whose process was killed; each stays until `settle` was called with it. */
  abandoned(): readonly string[] {
    const rows = this.#db.all<LeaseRow & { key: string }>(
      'SELECT key, token, pid, start, boot, doing FROM leases WHERE key >= ? AND key < ?',
      claimed,
      `${claimed}~`,
    );
    return rows.filter((row) => !isAlive(row)).map((row) => row.key.slice(claimed.length));
  }

  /** What an abandoned claim was about has been dealt with. */
  settle(key: string): void {
    this.#dropClaim(key);
  }

  #dropClaim(key: string): void {
    this.#db.run('DELETE FROM leases WHERE key = ?', `${claimed}${key}`);
  }

  /** Takes the lease, waiting for it as long as the context allows. `doing` tells others what is going on: "stopping web". */
  async acquire(context: Context, key: string, doing: string): Promise<Lease> {
    const before = this.#turns.get(key);
    const leave = this.#queue(key, before);
    try {
      if (before !== undefined) await settledOrAborted(context, before, doing);
      await this.#takeRow(context, key, doing);
    } catch (error) {
      leave();
      throw error;
    }
    return this.#lease(key, leave);
  }

  /** Takes the lease if nobody holds it, without waiting. */
  tryAcquire(key: string, doing: string): Lease | undefined {
    if (this.#turns.has(key) || this.#insert(key, doing) !== undefined) return undefined;
    return this.#lease(key, this.#queue(key, undefined));
  }

  /** What the living holder of a lease says it is doing; undefined when it is free. */
  holder(key: string): { pid: number; doing: string } | undefined {
    const row = this.#db.get<LeaseRow>('SELECT token, pid, start, boot, doing FROM leases WHERE key = ?', key);
    return row !== undefined && isAlive(row) ? { pid: row.pid, doing: row.doing } : undefined;
  }

  /** Stands in line behind `before`; the returned function leaves the line. */
  #queue(key: string, before: Promise<void> | undefined): () => void {
    const turn = Promise.withResolvers<void>();
    const tail = before === undefined ? turn.promise : before.then(async () => turn.promise);
    this.#turns.set(key, tail);
    return () => {
      turn.resolve();
      if (this.#turns.get(key) === tail) this.#turns.delete(key);
    };
  }

  /** Drops the rows of processes that died: nobody may ever want their keys again. */
  sweep(): void {
    this.#db.immediate(() => {
      const rows = this.#db.all<LeaseRow & { key: string }>('SELECT key, token, pid, start, boot, doing FROM leases');
      for (const row of rows) {
        if (!row.key.startsWith(claimed) && !isAlive(row))
          this.#db.run('DELETE FROM leases WHERE key = ? AND token = ?', row.key, row.token);
      }
    });
  }

  #lease(key: string, leave: () => void): Lease {
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      try {
        if (this.#db.isOpen) this.#db.run('DELETE FROM leases WHERE key = ? AND token = ?', key, this.#token);
      } finally {
        leave();
      }
    };
    return { key, release, [Symbol.dispose]: release };
  }

  async #takeRow(context: Context, key: string, doing: string): Promise<void> {
    for (let pause = 1; ; pause = Math.min(pause * 2, 25)) {
      const holder = this.#insert(key, doing);
      if (holder === undefined) return;
      context.check(`${doing}: waiting for process ${holder.pid} (${holder.doing})`);
      await sleep(pause);
    }
  }

  /** Writes the row; returns the living holder's where there is one. */
  #insert(key: string, doing: string): LeaseRow | undefined {
    const { pid, start, boot } = ownIdentity();
    return this.#db.immediate(() => {
      const holder = this.#db.get<LeaseRow>('SELECT token, pid, start, boot, doing FROM leases WHERE key = ?', key);
      if (holder !== undefined && isAlive(holder)) return holder;
      this.#db.run(
        'INSERT OR REPLACE INTO leases (key, token, pid, start, boot, doing) VALUES (?, ?, ?, ?, ?, ?)',
        key,
        this.#token,
        pid,
        start,
        boot,
        doing,
      );
      return undefined;
    });
  }
}

async function settledOrAborted(context: Context, before: Promise<void>, doing: string): Promise<void> {
  context.check(doing);
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(abortError(context.signal, doing));
  context.signal.addEventListener('abort', onAbort, { once: true });
  try {
    await Promise.race([before, aborted.promise]);
  } finally {
    context.signal.removeEventListener('abort', onAbort);
  }
}
