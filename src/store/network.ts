import { KeelsonError } from '../ground/errors.ts';
import type { Database } from './database.ts';

export const networkSchema = `
  CREATE TABLE networks (
    bridge TEXT PRIMARY KEY,
    pool TEXT NOT NULL,
    pool6 TEXT NOT NULL,
    next INTEGER NOT NULL,
    derived_key TEXT NOT NULL DEFAULT '',
    derived BLOB NOT NULL DEFAULT x''
  ) STRICT;
  CREATE TABLE network_leases (
    container TEXT PRIMARY KEY,
    bridge TEXT NOT NULL,
    pool TEXT NOT NULL,
    host INTEGER NOT NULL,
    UNIQUE (bridge, pool, host)
  ) STRICT;
`;

/** A network's address space, as prefixes in text. `pool6` is '' without IPv6. */
export interface Pools {
  readonly pool: string;
  readonly pool6: string;
}

/** The host numbers that containers may have, both inclusive. */
export interface HostRange {
  readonly first: number;
  readonly last: number;
}

/** A container's place in its network: the `host`-th address of `pool`. */
export interface AddressLease {
  readonly container: string;
  readonly pool: string;
  readonly host: number;
}

/**
 * Which container has which address of a bridge. Any number of processes may ask at once. Addresses are handed out in turn, not
 * lowest first, so that one that was just given back rests for as long as possible: its traces (neighbour entries, connections
 * being tracked, links that the kernel is still removing) are gone when it comes round again.
 */
export class AddressLeases {
  readonly #db: Database;
  readonly #bridge: string;

  constructor(db: Database, bridge: string) {
    this.#db = db;
    this.#bridge = bridge;
  }

  /** The address space that was last recorded. */
  pools(): Pools | undefined {
    return this.#db.get<Pools>('SELECT pool, pool6 FROM networks WHERE bridge = ?', this.#bridge);
  }

  /**
   * Gives the container an address within the range, and takes away the one it had. `choose` tells the address space, given
   * the recorded one, and where to begin in a new one; it is called, and what it says recorded, in the same transaction.
   * Throws `exhausted` when all are taken.
   */
  take(
    container: string,
    rangeOf: (pools: Pools) => HostRange,
    choose: (recorded: Pools | undefined) => Pools & { readonly begin?: number },
  ): AddressLease & Pools {
    return this.#db.immediate(() => {
      const recorded = this.pools();
      const { begin, ...pools } = choose(recorded);
      const range = rangeOf(pools);
      if (recorded?.pool !== pools.pool) this.#record(pools, begin ?? range.first);
      else if (recorded.pool6 !== pools.pool6) {
        this.#db.run('UPDATE networks SET pool6 = ? WHERE bridge = ?', pools.pool6, this.#bridge);
      }
      this.release(container);
      const host = this.#free(pools.pool, range);
      this.#db.run(
        'INSERT INTO network_leases (container, bridge, pool, host) VALUES (?, ?, ?, ?)',
        container,
        this.#bridge,
        pools.pool,
        host,
      );
      this.#db.run('UPDATE networks SET next = ? WHERE bridge = ?', host + 1, this.#bridge);
      return { container, ...pools, host };
    });
  }

  /** What `make` has once made for `key`: of one key at a time, for a network that has been recorded. */
  derived(key: string, make: () => Uint8Array): Uint8Array {
    const known = this.#db.get<{ derived: Uint8Array }>(
      'SELECT derived FROM networks WHERE bridge = ? AND derived_key = ?',
      this.#bridge,
      key,
    );
    if (known) return known.derived;
    const derived = make();
    this.#db.run('UPDATE networks SET derived_key = ?, derived = ? WHERE bridge = ?', key, derived, this.#bridge);
    return derived;
  }

  /** Returns false when it had none. */
  release(container: string): boolean {
    return this.#db.run('DELETE FROM network_leases WHERE container = ?', container) > 0;
  }

  of(container: string): AddressLease | undefined {
    return this.#db.get<AddressLease>(
      'SELECT container, pool, host FROM network_leases WHERE container = ? AND bridge = ?',
      container,
      this.#bridge,
    );
  }

  list(): AddressLease[] {
    return this.#db.all<AddressLease>(
      'SELECT container, pool, host FROM network_leases WHERE bridge = ? ORDER BY pool, host',
      this.#bridge,
    );
  }

  #record({ pool, pool6 }: Pools, next: number): void {
    this.#db.run(
      'INSERT OR REPLACE INTO networks (bridge, pool, pool6, next) VALUES (?, ?, ?, ?)',
      this.#bridge,
      pool,
      pool6,
      next,
    );
  }

  /** The first free one from the cursor on, or else from the beginning on. */
  #free(pool: string, { first, last }: HostRange): number {
    const next = this.#db.get<{ next: number }>('SELECT next FROM networks WHERE bridge = ?', this.#bridge)?.next;
    const from = next === undefined || next < first || next > last ? first : next;
    const host = this.#gap(pool, from, last) ?? this.#gap(pool, first, from - 1);
    if (host !== undefined) return host;
    throw new KeelsonError(
      'exhausted',
      `no available IPv4 addresses on bridge ${this.#bridge}: all ${last - first + 1} of ${pool} are in use`,
    );
  }

  #gap(pool: string, from: number, to: number): number | undefined {
    if (from > to) return undefined;
    const taken = (host: number): boolean =>
      this.#db.get(
        'SELECT 1 FROM network_leases WHERE bridge = ? AND pool = ? AND host = ?',
        this.#bridge,
        pool,
        host,
      ) !== undefined;
    if (!taken(from)) return from;
    // The end of the run of taken addresses that `from` is in.
    const end = this.#db.get<{ host: number }>(
      `SELECT host FROM network_leases AS lease WHERE bridge = ?1 AND pool = ?2 AND host >= ?3 AND NOT EXISTS (
         SELECT 1 FROM network_leases WHERE bridge = ?1 AND pool = ?2 AND host = lease.host + 1
       ) ORDER BY host LIMIT 1`,
      this.#bridge,
      pool,
      from,
    );
    return end !== undefined && end.host < to ? end.host + 1 : undefined;
  }
}
