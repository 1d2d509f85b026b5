import { existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { KeelsonError } from '../ground/errors.ts';
import { openError } from './options/key-values.ts';

/** `--cidfile`: a file that must be new, holds the container's id, and goes away again when there is no container. */
export class CidFile {
  readonly #path: string;

  /** `path` is '' for none. */
  constructor(path: string) {
    this.#path = path;
    if (path === '') return;
    if (existsSync(path))
      throw new KeelsonError(
        'already-exists',
        `container ID file found, make sure the other container isn't running or delete ${path}`,
      );
    try {
      writeFileSync(path, '', { flag: 'wx', mode: 0o644 });
    } catch (error) {
      throw new KeelsonError(
        'invalid-argument',
        `failed to create the container ID file: ${openError(path, error).message}`,
        {
          cause: error,
        },
      );
    }
  }

  write(id: string): void {
    if (this.#path !== '') writeFileSync(this.#path, id);
  }

  [Symbol.dispose](): void {
    if (this.#path !== '' && existsSync(this.#path) && statSync(this.#path).size === 0) rmSync(this.#path);
  }
}
