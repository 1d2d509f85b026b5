import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { Context } from '../ground/context.ts';
import { isKeelsonError, KeelsonError } from '../ground/errors.ts';
import type { Keel } from '../kernel/keel.ts';
import type { Plan } from '../kernel/plan.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import { hostArch } from '../kernel/syscalls.ts';
import { makingCapabilities, type Place, type SandboxIds, sandboxed } from './sandbox.ts';
import { StreamChannel } from './stream-channel.ts';
import * as flag from './archive-flags.ts';

export interface UnpackOptions {
  /** The directory that receives the entries: of the host, or a place's (see Place) directory `at`. Exists. */
  readonly into: string | Place;
  readonly at?: string;
  /** A private directory (0700) of the caller's for the time of the call. */
  readonly scratch: string;
  /**
   * What `.wh.` entries mean: marks for overlayfs (`trusted.*` opaque marks are left to markOpaque; with `overlay-userxattr`
   * they are `user.*` and set at once), removal of what is there, or nothing special.
   */
  readonly whiteouts: 'overlay' | 'overlay-userxattr' | 'delete' | 'files';
  readonly ids?: SandboxIds;
  /** `lenient`: owners that may not be set are left; device nodes that may not be made are left out. For who is not root. */
  readonly privileges?: 'full' | 'lenient';
  /** `caller`: entries belong to who unpacks, whatever the archive says. */
  readonly owners?: 'archive' | 'caller';
  /** Begins messages; "unpacking" where absent. */
  readonly doing?: string;
  /** Refuse to put a directory in the place of something else, or the reverse. */
  readonly keepKind?: boolean;
}

/** What was unpacked. Paths are bytes: names need not be UTF-8. */
export interface Unpacked {
  readonly entries: number;
  /** Bytes of regular files, as written. */
  readonly fileBytes: number;
  /** Device nodes and extended attributes that were left out. */
  readonly devicesSkipped: number;
  readonly xattrsSkipped: number;
  /** Directories that no entry told of, made with mode 0755. */
  readonly implied: readonly Buffer[];
  /** Opaque directories, marked already with `overlay-userxattr` only; the empty path is the root. */
  readonly opaque: readonly Buffer[];
}

/**
 * Unpacks a plain tar stream in a sandbox of keel's (sandbox.ts); native/unpack.c says how entries are treated. Nothing is undone
 * on failure: the caller throws the directory away. Errors: `corrupt` for a bad archive, naming the entry; `exhausted` for a full
 * disk; what `source` throws.
 */
export async function unpackTar(
  keel: Keel,
  source: AsyncIterable<Uint8Array>,
  options: UnpackOptions,
  context: Context,
): Promise<Unpacked> {
  await using channel = await StreamChannel.listen(options.scratch);
  const plan = unpackPlan(channel, options);
  const fed = feed(channel, source);
  const ran = keel.run(plan, {}, context);
  // Whichever fails first ends the other.
  ran.catch((error: unknown) => channel.abandon(error));
  fed.catch((error: unknown) => channel.abandon(error));
  const [feeding, running] = await Promise.allSettled([fed, ran]);
  if (feeding.status === 'rejected' && feeding.reason instanceof SourceError) throw feeding.reason.cause;
  if (running.status === 'rejected') throw asArchiveError(running.reason, options.doing ?? 'unpacking');
  if (feeding.status === 'rejected') throw feeding.reason;
  return parseAnswer(feeding.value);
}

export function unpackPlan(channel: Pick<StreamChannel, 'connectSteps'>, options: UnpackOptions): Plan {
  const b = new PlanBuilder(hostArch());
  b.group('unpack').doing('connecting to the stream');
  const socket = channel.connectSteps(b);
  const place: Place = typeof options.into === 'string' ? { kind: 'directory', path: options.into } : options.into;
  const { at, ids } = options;
  sandboxed(b, { place, ids, capabilities: makingCapabilities, ...(at !== undefined && { at }) }, (inside) => {
    b.group('unpack').doing(options.doing ?? 'unpacking');
    b.unpack(socket, inside, flagsOf(options));
  });
  return b.build();
}

function flagsOf(options: UnpackOptions): number {
  const whiteouts = {
    overlay: flag.UNPACK_OVERLAY,
    'overlay-userxattr': flag.UNPACK_OVERLAY | flag.UNPACK_USERXATTR,
    delete: flag.UNPACK_DELETE,
    files: 0,
  }[options.whiteouts];
  return (
    whiteouts |
    (options.privileges === 'lenient' ? flag.UNPACK_ANY_OWNER | flag.UNPACK_SKIP_DEVICES : 0) |
    (options.owners === 'caller' ? flag.UNPACK_NO_OWNER : 0) |
    (options.keepKind ? flag.UNPACK_KEEP_KIND : 0) |
    flag.UNPACK_ANSWER
  );
}

/** Wraps what the source throws, to be told from failures of the stream itself. */
class SourceError extends Error {}

const maxAnswerBytes = 256 << 20;

/** Sends the source, then reads the answer. */
async function feed(channel: StreamChannel, source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const socket = await channel.connected;
  const answer = readAnswer(socket);
  answer.catch(() => {});
  const chunks = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await chunks.next().catch((cause: unknown) => {
        throw new SourceError('reading the archive', { cause });
      });
      if (next.done) break;
      if (socket.destroyed) throw new KeelsonError('unavailable', 'the unpacker went away');
      if (!socket.write(next.value)) await drained(socket);
    }
  } catch (error) {
    await chunks.return?.().catch(() => {});
    throw error;
  }
  socket.end();
  return answer;
}

async function drained(socket: Socket): Promise<void> {
  const over = new AbortController();
  const { signal } = over;
  try {
    await Promise.race([once(socket, 'drain', { signal }), once(socket, 'close', { signal })]);
  } finally {
    over.abort();
  }
}

async function readAnswer(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxAnswerBytes) throw new KeelsonError('corrupt', 'the archive implies too many directories');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The records of native/unpack.h. */
function parseAnswer(answer: Buffer): Unpacked {
  const implied: Buffer[] = [];
  const opaque: Buffer[] = [];
  for (let at = 0; at < answer.length; ) {
    const end = answer.indexOf(0, at);
    if (end < 0) break;
    const kind = String.fromCharCode(answer[at] as number);
    const text = answer.subarray(at + 1, end);
    at = end + 1;
    if (kind === 'i') implied.push(text);
    else if (kind === 'o') opaque.push(text);
    else if (kind === 's') {
      const [entries = 0, fileBytes = 0, devicesSkipped = 0, xattrsSkipped = 0] = text
        .toString()
        .split(' ')
        .map(Number);
      return { entries, fileBytes, devicesSkipped, xattrsSkipped, implied, opaque };
    }
  }
  throw new KeelsonError('internal', 'keel did not say what it unpacked');
}

/** keel says EBADMSG where the archive is at fault. */
function asArchiveError(error: unknown, doing: string): unknown {
  if (!isKeelsonError(error) || error.details.errno !== 'EBADMSG') return error;
  const text = error.message.slice(error.message.indexOf('EBADMSG')).replace(/^EBADMSG[^:]*: /, '');
  return new KeelsonError('corrupt', `${doing}: ${text}`, { cause: error });
}
