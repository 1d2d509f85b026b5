/**
 * The one error class of Keelson. `code` is from a closed set; each front door maps it to its wire
 * (the CLI to an exit code, the Docker API to an HTTP status, CRI to a gRPC status). The message says
 * what was being done to what, and why it failed; `cause` holds what was thrown below.
 */
export const errorCodes = [
  'invalid-argument', // the caller's words are wrong: an unknown flag, a bad reference, a negative size
  'not-found', // no such container, image, volume, file
  'already-exists', // the name is taken
  'conflict', // the object is in a state that forbids this (running, paused, in use)
  'unauthenticated', // the registry wants credentials, or refused them
  'denied', // known, but not allowed to
  'unavailable', // a registry, network or helper process did not answer; trying again may help
  'timeout', // the deadline passed
  'canceled', // the caller's AbortSignal fired
  'unsupported', // this kernel or this build can't
  'corrupt', // bytes are not what their digest, length or format says
  'exhausted', // no space, no addresses, no pids, no descriptors
  'kernel', // a system call was refused; errno and operation are in `details`
  'command-not-found', // the container's executable does not exist (exit code 127)
  'command-not-executable', // it exists and can't be executed (exit code 126)
  'internal', // a defect of Keelson
] as const;

export type ErrorCode = (typeof errorCodes)[number];

export interface ErrorDetails {
  /** Symbolic errno, e.g. `ENOENT`, where the kernel refused. */
  errno?: string;
  /** System call or plan operation that failed. */
  syscall?: string;
  /** Index of the operation in its plan. */
  op?: number;
  /** HTTP status, where a registry answered. */
  status?: number;
  [key: string]: unknown;
}

export class KeelsonError extends Error {
  override readonly name = 'KeelsonError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; details?: ErrorDetails } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** True for a KeelsonError, of `code` where one is given. */
export function isKeelsonError(error: unknown, code?: ErrorCode): error is KeelsonError {
  return error instanceof KeelsonError && (code === undefined || error.code === code);
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The one map from errno to a code; everything it doesn't name is `kernel`. */
export function codeOfErrno(errno: string): ErrorCode {
  switch (errno) {
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EMFILE':
    case 'ENFILE':
    case 'ENOMEM':
    case 'EAGAIN':
      return 'exhausted';
    case 'ENOENT':
    case 'ESRCH':
      return 'not-found';
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return 'denied';
    case 'ENOSYS':
    case 'EOPNOTSUPP':
      return 'unsupported';
    case 'ETIMEDOUT':
      return 'timeout';
    default:
      return 'kernel';
  }
}

/** Wraps what Node's fs and net throw: `doing` reads as "writing /run/x". Passes a KeelsonError through. */
export function fromSystemError(error: unknown, doing: string): KeelsonError {
  if (error instanceof KeelsonError) return error;
  const { code: errno, syscall } = error as NodeJS.ErrnoException;
  if (typeof errno === 'string' && /^E[A-Z0-9]+$/.test(errno)) {
    return new KeelsonError(codeOfErrno(errno), `${doing}: ${messageOf(error)}`, {
      cause: error,
      details: syscall === undefined ? { errno } : { errno, syscall },
    });
  }
  return new KeelsonError('internal', `${doing}: ${messageOf(error)}`, { cause: error });
}
