/** Finding out who `USER` is, inside the container's root: the plan reads passwd and group there and asks the planner. */
import { O_NONBLOCK, O_RDONLY, S_IFMT, S_IFREG, AT_FDCWD } from '../kernel/constants.ts';
import type { BlobRef, Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Environment, ProcessInput } from './exec-steps.ts';
import { openIn } from './in-root.ts';
import { homeOf, lookupUser, maxAccountFile } from './user-lookup.ts';

/** The tag of the plan's `sync` that carries passwd and group. */
export const lookupTag = 1;

export interface UserRequest {
  /** As in USER and --user; '' for root. */
  readonly user: string;
  readonly groupAdd: readonly string[];
  /** HOME is set from passwd when the environment has none. */
  readonly setHome: boolean;
}

export type UserAnswer = (
  request: UserRequest,
  process: ProcessInput,
  blobs: readonly Uint8Array[],
  values: readonly bigint[],
) => ProcessInput;

/** struct stat is 144 bytes on x86_64 and 128 on arm64; st_mode lies at 24 and 16. */
const statMode = { x86_64: 24, aarch64: 16 } as const;
/** Enough for any passwd in practice without moving a megabyte: what doesn't fit is not looked at. */
const readSize = Math.min(maxAccountFile, 64 << 10);

/** In the child, in its root: reads both files and stops at a `sync`. */
export function requestUser(b: PlanBuilder): UserAnswer {
  b.group('security').doing('looking up the user');
  const files = ['/etc/passwd', '/etc/group'].map((path) => readAccountFile(b, path));
  b.sync(
    lookupTag,
    files.map((f) => f.count),
    files.map((f) => f.content),
  );
  return (request, process, blobs, values) => {
    const text = (i: number) =>
      Buffer.from(blobs[i] ?? new Uint8Array(0))
        .subarray(0, Math.max(0, Number(values[i] ?? 0n)))
        .toString('utf8');
    const user = lookupUser(request.user, request.groupAdd, text(0), text(1));
    const hasHome = process.env.some((e) => e.startsWith('HOME='));
    const env = request.setHome && !hasHome ? [...process.env, `HOME=${user.home}`] : process.env;
    return { ...process, env, user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids } };
  };
}

/** Only a regular file is read (a FIFO would hang, CRI-O 2024-9676), no further than the buffer; a missing one is empty. */
function readAccountFile(b: PlanBuilder, path: string): { content: BlobRef; count: Reg } {
  const content = b.blob(readSize, path);
  const count = b.reg('bytes');
  const [done, close] = [b.label(), b.label()];
  b.set(count, 0);
  const root = b.sys('openat', [AT_FDCWD, '/', 0o12000000]);
  const fd = openIn(b, root, path, { flags: O_RDONLY | O_NONBLOCK, on: { any: done } });
  const stat = b.blob(144, 'struct stat');
  b.sys('fstat', [fd, stat]);
  const mode = b.peek({ ...stat, offset: statMode[b.arch] }, 4, 'mode');
  const next = b.label();
  b.branch(mode, '&', S_IFMT & ~S_IFREG, close);
  b.branch(mode, '&', S_IFREG, next);
  b.jump(close);
  b.place(next);
  b.sys('read', [fd, content, readSize], { dst: count });
  b.place(close);
  b.sys('close', [fd]);
  b.place(done);
  b.sys('close', [root]);
  return { content, count };
}

const maxHome = 4096;

/**
 * In the child, in its root: an entry of the environment with HOME from passwd, for a process that has none (an empty one counts as none). Asks the
 * planner where there is a passwd.
 */
function findHome(b: PlanBuilder, uid: number): BlobRef {
  b.group('security').doing('looking up the home directory');
  const whole = Buffer.alloc(maxHome);
  whole.write('HOME=/');
  const entry = b.blob(whole, '"HOME=…"');
  const { content, count } = readAccountFile(b, '/etc/passwd');
  const unknown = b.label();
  b.branch(count, '<', 1, unknown);
  b.ask([count], [content], (chunk, { blobs, registers }) => {
    const text = Buffer.from(blobs[0] ?? []).toString('utf8', 0, Math.max(0, Number(registers[0] ?? 0n)));
    const bytes = Buffer.from(`HOME=${homeOf(uid, text)}\0`);
    if (bytes.length > maxHome) return;
    for (const [offset, byte] of bytes.entries()) chunk.poke({ ...entry, offset }, 1, byte);
  });
  b.place(unknown);
  return entry;
}

/** The environment of the process; in the child, in its root. */
export function environmentOf(b: PlanBuilder, { env, user }: ProcessInput): Environment {
  const home = env.findLast((entry) => entry.startsWith('HOME='));
  if (home !== undefined && home !== 'HOME=') return env;
  return [...env.filter((entry) => !entry.startsWith('HOME=')), findHome(b, user.uid)];
}
