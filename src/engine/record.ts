import { KeelsonError } from '../ground/errors.ts';
import { isUniqueViolation, type Database } from '../store/database.ts';
import { printable } from './names.ts';
import type { ContainerConfig, ContainerNetwork, ContainerState, MountSpec } from './types.ts';

/** A mount as it will be made: sources resolved, volumes named, targets cleaned. */
export interface ResolvedMount extends MountSpec {
  /** The volume's name; '' for others. */
  readonly name: string;
  /** An anonymous volume goes with the container (`rm -v`, `--rm`). */
  readonly anonymous: boolean;
  /** It came from the image's VOLUME, not from the caller. */
  readonly fromImage?: boolean;
}

/** What `create` decided, once and for all; only `update` changes resources and the restart policy in it. */
export interface ContainerSpec {
  /** The caller's words with the image's defaults merged in. */
  readonly config: ContainerConfig;
  readonly path: string;
  readonly args: readonly string[];
  readonly mounts: readonly ResolvedMount[];
}

/**
 * What is being done to the container across several steps, written before the first of them. A phase whose lease holder is
 * gone was interrupted: reconcile finishes or undoes it.
 */
export type Phase = '' | 'creating' | 'starting' | 'removing' | 'removing with volumes';

/** A row of the containers table. Times in milliseconds since the epoch, 0 for never. */
export interface ContainerRecord {
  readonly id: string;
  readonly name: string;
  readonly imageId: string;
  readonly spec: ContainerSpec;
  readonly createdAt: number;
  readonly state: ContainerState;
  readonly phase: Phase;
  /** Counts starts; tells a run from the one before. */
  readonly generation: number;
  /** The container's first process in the host's numbers, with its start time; 0 when there is none. */
  readonly pid: number;
  readonly pidStart: number;
  /** The boot in which pid and keeper lived. */
  readonly boot: string;
  readonly keeper: number;
  readonly keeperStart: number;
  readonly exitCode: number;
  readonly oomKilled: boolean;
  readonly error: string;
  readonly startedAt: number;
  readonly finishedAt: number;
  readonly restartCount: number;
  /** State `restarting`: when the next attempt is due. */
  readonly restartAt: number;
  /** `stop` or `kill` by a person: no restart until the next `start`. */
  readonly stoppedByUser: boolean;
  /** What the network was given; {} while it has none. */
  readonly network: Partial<ContainerNetwork>;
}

export type RecordChange = Partial<Omit<ContainerRecord, 'id' | 'createdAt' | 'imageId'>>;

const columns: Readonly<Record<keyof ContainerRecord, string>> = {
  id: 'id',
  name: 'name',
  imageId: 'image_id',
  spec: 'spec',
  createdAt: 'created_at',
  state: 'state',
  phase: 'phase',
  generation: 'generation',
  pid: 'pid',
  pidStart: 'pid_start',
  boot: 'boot',
  keeper: 'keeper',
  keeperStart: 'keeper_start',
  exitCode: 'exit_code',
  oomKilled: 'oom_killed',
  error: 'error',
  startedAt: 'started_at',
  finishedAt: 'finished_at',
  restartCount: 'restart_count',
  restartAt: 'restart_at',
  stoppedByUser: 'stopped_by_user',
  network: 'network',
};
const fields = Object.keys(columns) as (keyof ContainerRecord)[];
const selectAll = `SELECT ${fields.map((f) => `${columns[f]} AS ${f}`).join(', ')} FROM containers`;

/** The containers table. Every method is one statement or one short transaction. */
export class Records {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /** Throws docker's conflict when the name is taken. `also` runs in the same transaction, after the row is there. */
  insert(
    record: Pick<ContainerRecord, 'id' | 'name' | 'imageId' | 'spec' | 'createdAt' | 'state' | 'phase'>,
    also: () => void = () => {},
  ): void {
    const { id, name, imageId, spec, createdAt, state, phase } = record;
    try {
      this.#db.immediate(() => {
        this.#db.run(
          'INSERT INTO containers (id, name, image_id, spec, created_at, state, phase) VALUES (?, ?, ?, ?, ?, ?, ?)',
          id,
          name,
          imageId,
          JSON.stringify(spec),
          createdAt,
          state,
          phase,
        );
        also();
      });
    } catch (error) {
      const holder = isUniqueViolation(error) ? this.byName(name) : undefined;
      throw holder === undefined ? error : nameTaken(name, holder.id);
    }
  }

  get(id: string): ContainerRecord | undefined {
    return parsed(this.#db.get<Row>(`${selectAll} WHERE id = ?`, id));
  }

  byName(name: string): ContainerRecord | undefined {
    return parsed(this.#db.get<Row>(`${selectAll} WHERE name = ?`, name));
  }

  /** By full id, then name, then unique prefix of an id. */
  find(reference: string): ContainerRecord {
    const bare = reference.startsWith('/') ? reference.slice(1) : reference;
    const exact = this.get(bare) ?? this.byName(bare);
    if (exact !== undefined) return exact;
    if (/^[0-9a-f]{1,64}$/.test(bare)) {
      // Ids are hexadecimal, so '~' sorts after every continuation of the prefix.
      const matches = this.#db.all<Row>(`${selectAll} WHERE id >= ? AND id < ? LIMIT 2`, bare, `${bare}~`);
      if (matches.length > 1) {
        throw new KeelsonError('invalid-argument', `multiple IDs found with provided prefix: ${bare}`);
      }
      const [only] = matches.map(parsed);
      if (only !== undefined) return only;
    }
    throw noSuchContainer(reference);
  }

  list(): ContainerRecord[] {
    return this.#db.all<Row>(`${selectAll} ORDER BY created_at DESC, id`).map((row) => parsed(row));
  }

  /** The containers of an image. */
  usersOf(imageId: string): { id: string; running: boolean }[] {
    const rows = this.#db.all<{ id: string; state: string }>(
      'SELECT id, state FROM containers WHERE image_id = ?',
      imageId,
    );
    return rows.map(({ id, state }) => ({ id, running: state === 'running' || state === 'paused' }));
  }

  /** Those that reconcile must look at: in the middle of something, or with a keeper that may be gone. */
  unsettled(): ContainerRecord[] {
    return this.#db
      .all<Row>(
        `${selectAll} WHERE phase <> '' OR state IN ('running', 'paused', 'restarting', 'removing') ORDER BY created_at`,
      )
      .map((row) => parsed(row));
  }

  /** Returns false when the row is gone. */
  update(id: string, change: RecordChange): boolean {
    const changed = (Object.keys(change) as (keyof RecordChange)[]).filter((f) => change[f] !== undefined);
    const values = changed.map((f) => {
      const value = change[f];
      return typeof value === 'object' ? JSON.stringify(value) : value;
    });
    const set = changed.map((f) => `${columns[f]} = ?`).join(', ');
    try {
      return this.#db.run(`UPDATE containers SET ${set} WHERE id = ?`, ...values, id) > 0;
    } catch (error) {
      const holder = isUniqueViolation(error) && change.name !== undefined ? this.byName(change.name) : undefined;
      throw holder === undefined ? error : nameTaken(change.name ?? '', holder.id);
    }
  }

  delete(id: string): void {
    this.#db.run('DELETE FROM containers WHERE id = ?', id);
  }
}

type Row = Record<keyof ContainerRecord, string | number>;

function parsed(row: Row): ContainerRecord;
function parsed(row: Row | undefined): ContainerRecord | undefined;
function parsed(row: Row | undefined): ContainerRecord | undefined {
  if (row === undefined) return undefined;
  return {
    ...(row as unknown as ContainerRecord),
    spec: JSON.parse(String(row.spec)) as ContainerSpec,
    network: JSON.parse(String(row.network)) as Partial<ContainerNetwork>,
    oomKilled: row.oomKilled !== 0,
    stoppedByUser: row.stoppedByUser !== 0,
  };
}

export function noSuchContainer(reference: string): KeelsonError {
  return new KeelsonError('not-found', `No such container: ${printable(reference)}`);
}

function nameTaken(name: string, holder: string): KeelsonError {
  return new KeelsonError(
    'already-exists',
    `Conflict. The container name "/${name}" is already in use by container "${holder}". You have to remove (or rename) that container to be able to reuse that name.`,
  );
}
