/** The directory of all containers' states. `state` of one looks at nothing of the others. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
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
    rmSync(files.directory, { recursive: true, force: true });
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
  try {
    return JSON.parse(text) as ContainerState;
  } catch (cause) {
    throw new KeelsonError('corrupt', `${files.state} is not a container's state`, { cause });
  }
}

/** As runc: what may be a file name, and no more. */
export function checkId(id: string): void {
  if (id === '') throw new KeelsonError('invalid-argument', 'container id cannot be empty');
  if (!/^[\w+.-]{1,1024}$/.test(id) || id === '.' || id === '..')
    throw new KeelsonError('invalid-argument', `invalid container ID format: ${id}`);
}
