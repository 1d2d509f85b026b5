import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { fromSystemError, KeelsonError, messageOf, type ErrorCode } from '../ground/errors.ts';

/** One step of the schema. Steps only ever get appended: `PRAGMA user_version` counts those that were applied. */
export interface Migration {
  readonly name: string;
  readonly sql: string;
}

/** What a parameter may be; `undefined` is stored as NULL, a boolean as 0 or 1. */
export type Parameter = SQLInputValue | boolean | undefined;

/** How long a statement waits for another process's transaction. They take well under a millisecond each. */
const busyTimeoutMs = 10_000;

/** Pages of 4 KiB in the log before it is written back. The first process to open the file after all others have gone reads them all. */
const logPages = 400;

/**
 * A SQLite file shared by many processes: WAL, so that readers never wait; writers take short turns.
 * Everything is synchronous. Statements are prepared once and kept.
 *
 * `synchronous=NORMAL`: a commit survives the death of any process; a power cut may lose the last ones, never consistency.
 */
export class Database implements Disposable {
  readonly path: string;
  readonly #db: DatabaseSync;
  readonly #closing: (() => void)[] = [];
  readonly #statements = new Map<string, StatementSync>();

  private constructor(path: string, db: DatabaseSync) {
    this.path = path;
    this.#db = db;
  }

  /**
   * Opens or makes the file (mode 0600) and brings its schema up to date; safe when several processes do so at once.
   * Throws `unsupported` for a file that a later version of Keelson wrote, `corrupt` for one that isn't a database.
   */
  static open(path: string, migrations: readonly Migration[]): Database {
    let db: DatabaseSync | undefined;
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o711 });
      closeSync(openSync(path, 'a', 0o600)); // SQLite itself would make it 0644; its -wal and -shm take the file's mode
      db = new DatabaseSync(path, { timeout: busyTimeoutMs });
      const { user_version: version } = db.prepare('PRAGMA user_version').get() as { user_version: number };
      // The switch to WAL doesn't wait for the busy timeout, so it happens in turn, only when the file is new.
      if (version < migrations.length) migrate(db, path, migrations);
      else if (version > migrations.length) throw tooNew(path, version, migrations.length);
      db.exec(`PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = ${logPages}`);
      return new Database(path, db);
    } catch (error) {
      db?.close();
      throw fromSqlite(error, `opening ${path}`);
    }
  }

  /** The first row, or undefined. */
  get<Row>(sql: string, ...parameters: Parameter[]): Row | undefined {
    return this.#try(sql, (statement) => statement.get(...parameters.map(bound)) as Row | undefined);
  }

  all<Row>(sql: string, ...parameters: Parameter[]): Row[] {
    return this.#try(sql, (statement) => statement.all(...parameters.map(bound)) as Row[]);
  }

  /** Returns the number of rows changed. */
  run(sql: string, ...parameters: Parameter[]): number {
    return this.#try(sql, (statement) => Number(statement.run(...parameters.map(bound)).changes));
  }

  /**
   * Runs `work` in a transaction that holds the write lock from its beginning, so that what it reads stays true until it
   * commits. Undone when `work` throws. Within another call it joins that one. `work` must not wait for anything.
   */
  immediate<T>(work: () => T): T {
    if (this.#db.isTransaction) return work();
    this.#exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      this.#exec('COMMIT');
      return result;
    } catch (error) {
      if (this.#db.isTransaction) this.#exec('ROLLBACK');
      throw error;
    }
  }

  /** Changes whenever another connection has committed something (PRAGMA data_version): a cheap thing to poll. */
  dataVersion(): number {
    return this.get<{ data_version: number }>('PRAGMA data_version')?.data_version ?? 0;
  }

  get isOpen(): boolean {
    return this.#db.isOpen;
  }

  /** `work` is done while the database can still be written to. */
  beforeClose(work: () => void): void {
    this.#closing.push(work);
  }

  close(): void {
    if (!this.#db.isOpen) return;
    try {
      this.leave();
    } finally {
      this.#statements.clear();
      this.#db.close();
    }
  }

  /**
   * In place of `close` for a process that exits at once. The last one to close a database writes the log back into it and waits for the
   * disk, which is much for a command; what is left is as good for the next one.
   */
  leave(): void {
    for (const work of this.#closing.splice(0)) work();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #exec(sql: string): void {
    try {
      this.#db.exec(sql);
    } catch (error) {
      throw fromSqlite(error, `${this.path}: ${sql}`);
    }
  }

  #try<T>(sql: string, use: (statement: StatementSync) => T): T {
    try {
      let statement = this.#statements.get(sql);
      if (statement === undefined) {
        statement = this.#db.prepare(sql);
        this.#statements.set(sql, statement);
      }
      return use(statement);
    } catch (error) {
      throw fromSqlite(error, this.path);
    }
  }
}

/** SQLite's own result code of an error that a query threw (sqlite.org/rescode.html), e.g. 2067 for a broken UNIQUE. */
export function sqliteCode(error: unknown): number | undefined {
  const { errcode } = ((error as { cause?: unknown }).cause ?? error) as { errcode?: unknown };
  return typeof errcode === 'number' ? errcode : undefined;
}

/** True when the query was refused because of a UNIQUE or PRIMARY KEY constraint. */
export function isUniqueViolation(error: unknown): boolean {
  const code = sqliteCode(error);
  return code === 2067 || code === 1555;
}

function migrate(db: DatabaseSync, path: string, migrations: readonly Migration[]): void {
  enterWal(db);
  db.exec('BEGIN IMMEDIATE');
  try {
    // Another process may have been faster while this one waited for its turn.
    const { user_version: version } = db.prepare('PRAGMA user_version').get() as { user_version: number };
    if (version > migrations.length) throw tooNew(path, version, migrations.length);
    for (const { sql } of migrations.slice(version)) db.exec(sql);
    db.exec(`PRAGMA user_version = ${migrations.length}`);
    db.exec('COMMIT');
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  }
}

/** Two processes that switch a new file to WAL at once get SQLITE_BUSY at once, whatever the busy timeout is. */
function enterWal(db: DatabaseSync): void {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (const deadline = Date.now() + busyTimeoutMs; ; Atomics.wait(pause, 0, 0, 2)) {
    try {
      db.exec('PRAGMA journal_mode = WAL');
      return;
    } catch (error) {
      if (((sqliteCode(error) ?? 0) & 0xff) !== 5 || Date.now() > deadline) throw error;
    }
  }
}

function tooNew(path: string, version: number, known: number): KeelsonError {
  return new KeelsonError(
    'unsupported',
    `${path} was written by a newer version of Keelson (schema ${version}, this one knows ${known}): use that version, or another --root`,
  );
}

function bound(parameter: Parameter): SQLInputValue {
  if (parameter === undefined) return null;
  return typeof parameter === 'boolean' ? Number(parameter) : parameter;
}

function fromSqlite(error: unknown, doing: string): KeelsonError {
  if (error instanceof KeelsonError) return error;
  const code = sqliteCode(error);
  const codes: Record<number, [ErrorCode, string]> = {
    5: ['unavailable', 'another process has kept the database locked for too long'],
    6: ['unavailable', 'the database is locked'],
    8: ['denied', 'the database is read-only'],
    10: ['unavailable', 'the disk refused'],
    11: ['corrupt', 'the database is damaged'],
    13: ['exhausted', 'no space left for the database'],
    14: ['denied', 'the database can’t be opened'],
    26: ['corrupt', 'the file is not a database'],
  };
  const known = code === undefined ? undefined : codes[code & 0xff];
  if (known) return new KeelsonError(known[0], `${doing}: ${known[1]} (${messageOf(error)})`, { cause: error });
  return fromSystemError(error, doing);
}
