import { isKeelsonError, KeelsonError } from '../ground/errors.ts';

/** Why execve(2) fails, as docker and runc say it. */
export const execWords: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or directory',
  ENOTDIR: 'not a directory',
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  ENOEXEC: 'exec format error',
  EISDIR: 'is a directory',
  ELOOP: 'too many levels of symbolic links',
  E2BIG: 'argument list too long',
};

/** A plan's failure in the words that docker and runc use for a command that can't be executed; other errors as they are. */
export function startError(error: unknown): unknown {
  if (!isKeelsonError(error)) return error;
  const command = /^exec: ".*?(?<!\\)"/.exec(error.message)?.[0];
  if (command === undefined) return error;
  const errno = error.details.errno ?? '';
  const options = { cause: error, details: error.details };
  if (error.details.syscall === 'fail' && errno === 'ENOENT') {
    return new KeelsonError('command-not-found', `${command}: executable file not found in $PATH`, options);
  }
  return new KeelsonError(error.code, `${command}: ${execWords[errno] ?? errno}`, options);
}
