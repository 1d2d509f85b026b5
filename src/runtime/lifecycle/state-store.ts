/** The directory of all containers' states. `state` of one looks at nothing of the others. */
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fromSystemError, KeelsonError } from '../../ground/errors.ts';
import { containerFiles, type ContainerFiles, type ContainerState } from './container-state.ts';

export interface Found {
  readonly state: ContainerState;
  readonly files: ContainerFiles;
}

export class StateStore {
  readonly root: string;
  readonly #mode: number;

  /** `mode`: of the directory, where it has to be made. */
  constructor(root: string, mode: number = 0o700) {
    this.root = root;
    this.#mode = mode;
  }

  /** Reserves the name. */
  reserve(id: string): ContainerFiles {
    checkId(id);
    const files = containerFiles(this.root, id);
    try {
      mkdirSync(files.directory, { mode: 0o711 });
      return files;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') throw new KeelsonError('already-exists', 'container with given ID already exists');
      if (code !== 'ENOENT') throw fromSystemError(error, `making ${files.directory}`);
    }
    try {
      mkdirSync(this.root, { recursive: true, mode: 0o700 });
      if (this.#mode !== 0o700) chmodSync(this.root, this.#mode);
    } catch (error) {
      throw fromSystemError(error, `making ${this.root}`);
    }
    return this.reserve(id);
  }

  /** The first that is known of a container, and the config that it is made from. */
  begin(files: ContainerFiles, config: string, state: ContainerState): void {
    try {
      writeFileSync(files.config, config, { mode: 0o600 });
    } catch (error) {
      throw fromSystemError(error, `writing ${files.config}`);
    }
    this.save(files, state);
  }

  save(files: ContainerFiles, state: ContainerState): void {
    const next = `${files.state}.next`;
    try {
      writeFileSync(next, JSON.stringify(state), { mode: 0o600 });
      renameSync(next, files.state);
    } catch (error) {
      throw fromSystemError(error, `writing ${files.state}`);
    }
  }

  find(id: string): Found {
    checkId(id);
    const files = containerFiles(this.root, id);
    return { files, state: readState(files) };
  }

  /** All that can be read, in the order of their names. */
  all(options: { mayBeMissing: boolean }): readonly Found[] {
    let names: string[];
    try {
      names = readdirSync(this.root);
    } catch (error) {
      if (options.mayBeMissing && (error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw fromSystemError(error, `reading ${this.root}`);
    }
    return names.sort().flatMap((id) => {
      const files = containerFiles(this.root, id);
      try {
        return [{ files, state: readState(files) }];
      } catch {
        return []; // on its way in or out
      }
    });
  }

  remove(files: ContainerFiles): void {
    try {
      removeAll(files.directory);
    } catch (error) {
      throw fromSystemError(error, `removing ${files.directory}`);
    }
  }
}

/** rmSync doesn't tell the errno of what it could not do. Somebody else may be removing it, too. */
function removeAll(directory: string): void {
  ifThere(() => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) removeAll(path);
      else ifThere(() => unlinkSync(path));
    }
    rmdirSync(directory);
  });
}

function ifThere(remove: () => void): void {
  try {
    remove();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function readState(files: ContainerFiles): ContainerState {
  let text: string;
  try {
    text = readFileSync(files.state, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new KeelsonError('not-found', 'container does not exist', { cause: error });
    throw fromSystemError(error, `reading ${files.state}`);
  }
  let state: unknown;
  try {
    state = JSON.parse(text);
  } catch (cause) {
    throw new KeelsonError('corrupt', `${files.state} is not a container's state`, { cause });
  }
  if (!isState(state))
    throw new KeelsonError('corrupt', `${files.state} is not the state of a container of keelson-oci`);
  return state;
}

/** What all commands rely on; only root, or the user whose container it is, writes there. */
function isState(value: unknown): value is ContainerState {
  const state = value as Partial<ContainerState> | null;
  return (
    typeof state === 'object' &&
    typeof state?.id === 'string' &&
    Number.isInteger(state.init_process_pid) &&
    typeof state.config?.rootfs === 'string' &&
    typeof state.keelson?.bundle === 'string' &&
    typeof state.keelson.annotations === 'object'
  );
}

/** As runc: what may be a file name, and no more. */
export function checkId(id: string): void {
  if (id === '') throw new KeelsonError('invalid-argument', 'container id cannot be empty');
  if (!/^[\w+-][\w+.-]{0,1023}$/.test(id))
    throw new KeelsonError(
      'invalid-argument',
      `invalid container ID format: ${id}: invalid character in the container ID`,
    );
}
