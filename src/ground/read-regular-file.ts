import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { fromSystemError, KeelsonError } from './errors.ts';

/**
 * The text of a file that somebody else has named. Only a regular one of at most `maxBytes` is read: a FIFO or a device in its place
 * would hold up this process and all whom it serves. The system's errors are KeelsonErrors with their errno in `details`.
 */
export function readRegularFile(path: string, maxBytes: number): string {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    throw fromSystemError(error, `reading ${path}`);
  }
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) throw new KeelsonError('invalid-argument', `reading ${path}: it is not a regular file`);
    if (status.size > maxBytes)
      throw new KeelsonError('invalid-argument', `reading ${path}: it is larger than ${maxBytes >> 20} MiB`);
    return readFileSync(fd, 'utf8');
  } catch (error) {
    throw fromSystemError(error, `reading ${path}`);
  } finally {
    closeSync(fd);
  }
}
