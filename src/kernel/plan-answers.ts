/** What keel says about a plan, decoded. */
import { codeOfErrno, type ErrorCode, KeelsonError } from '../ground/errors.ts';
import { errnoName, errnoText } from './errno.ts';
import type { Op } from './plan.ts';

/** What a `sync` or `report` operation sent. */
export interface PlanMessage {
  readonly tag: number;
  readonly registers: readonly bigint[];
  /** Each from the reference's offset to the blob's end. */
  readonly blobs: readonly Buffer[];
}

/** The error of a `failed` message; `ops` are all operations sent on the channel, in the order of their ids. */
export function planFailure(payload: Buffer, ops: readonly Op[]): KeelsonError {
  const id = payload.readUInt32LE(0);
  const errno = errnoName(payload.readInt32LE(4));
  const extra = payload.toString('utf8', 8);
  const op = ops[id];
  const name = op === undefined ? 'decoding the plan' : op.op === 'syscall' ? op.name : op.op;
  const words = errnoText(errno);
  const message = `${op?.doing ? `${op.doing}: ` : ''}${name}: ${errno}${words && ` (${words})`}${extra && `: ${extra}`}`;
  return new KeelsonError(codeOf(name, errno), message, { details: { errno, syscall: name, op: id } });
}

/** execve's errnos have codes of their own, for exit codes 126 and 127. */
function codeOf(syscall: string, errno: string): ErrorCode {
  if (syscall !== 'execve' && syscall !== 'execveat') return codeOfErrno(errno);
  if (errno === 'ENOENT' || errno === 'ENOTDIR') return 'command-not-found';
  return ['EACCES', 'EPERM', 'ENOEXEC', 'EISDIR', 'ELOOP', 'EINVAL', 'ETXTBSY', 'ELIBBAD'].includes(errno)
    ? 'command-not-executable'
    : codeOfErrno(errno);
}

/** All registers, from a `done` message. */
export function int64s(bytes: Buffer): BigInt64Array {
  return new BigInt64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer);
}

export function planMessage(payload: Buffer): PlanMessage {
  const registers: bigint[] = [];
  const blobs: Buffer[] = [];
  let at = 8;
  for (let left = payload.readUInt32LE(4); left > 0; left--, at += 8) registers.push(payload.readBigInt64LE(at));
  const blobCount = payload.readUInt32LE(at);
  at += 4;
  for (let i = 0; i < blobCount; i++) {
    const size = payload.readUInt32LE(at);
    blobs.push(payload.subarray(at + 4, at + 4 + size));
    at += 4 + size;
  }
  return { tag: payload.readUInt32LE(0), registers, blobs };
}
