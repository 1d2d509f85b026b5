import type { Context } from '../ground/context.ts';
import type { Keel } from '../kernel/keel.ts';
import type { Plan } from '../kernel/plan.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import { hostArch } from '../kernel/syscalls.ts';
import * as flag from './archive-flags.ts';
import { markReadingCapabilities, type Place, readingCapabilities, type SandboxIds, sandboxed } from './sandbox.ts';
import { StreamChannel } from './stream-channel.ts';
import { tarEnd } from './tar-header.ts';

export interface PackOptions {
  /** A directory of the host, or a place (see Place). */
  readonly from: string | Place;
  /** A directory of the place to start from, found as a process inside would find it; its top where absent. */
  readonly at?: string;
  /** The file or directory to be packed: a path without symbolic links, beneath that. All of it where absent. */
  readonly path?: string;
  /** What `path` is called in the archive; where absent or empty, only what is in the directory is packed, under its own names. */
  readonly name?: string;
  /** A private directory (0700) of the caller's for the time of the call. */
  readonly scratch: string;
  readonly ids?: SandboxIds;
  /** The tree is an upper directory of overlayfs: its marks become whiteouts. */
  readonly overlay?: boolean;
  /** Headers without data and attributes, to be read with readTar's `headersOnly`. */
  readonly headersOnly?: boolean;
  /** Leave out what is mounted in the tree. */
  readonly oneFileSystem?: boolean;
  /** Everything belongs to root in the archive. */
  readonly rootOwns?: boolean;
}

/**
 * A directory tree as a tar stream, walked and written by keel in a sandbox; native/pack.h says how. The same tree gives the same bytes.
 * Ending the iteration early stops the packing.
 *
 *     await pipeline(packTree(keel, { from: '/srv/tree', scratch }, context), createWriteStream('tree.tar'));
 */
export async function* packTree(keel: Keel, options: PackOptions, context: Context): AsyncGenerator<Buffer> {
  await using channel = await StreamChannel.listen(options.scratch);
  const ran = keel.run(packPlan(channel, options), {}, context);
  ran.catch((error: unknown) => channel.abandon(error));
  const socket = await channel.connected;
  socket.end();
  try {
    yield* socket as AsyncIterable<Buffer>;
  } catch (error) {
    await ran;
    throw error;
  } finally {
    // Who stops reading early has no use for the failure that follows.
    if (!socket.readableEnded) {
      socket.destroy();
      await ran.catch(() => {});
    }
  }
  await ran;
  yield tarEnd;
}

export function packPlan(channel: Pick<StreamChannel, 'connectSteps'>, options: PackOptions): Plan {
  const b = new PlanBuilder(hostArch());
  const { at, ids, overlay, path = '', name = '' } = options;
  b.group('pack').doing('connecting to the stream');
  const socket = channel.connectSteps(b);
  const place: Place = typeof options.from === 'string' ? { kind: 'directory', path: options.from } : options.from;
  const capabilities = overlay ? markReadingCapabilities : readingCapabilities;
  sandboxed(b, { place, ids, capabilities, ...(at !== undefined && { at }) }, (root) => {
    b.group('pack').doing('packing');
    b.pack(root, path.replace(/^\/+/, ''), socket, name, flagsOf(options));
  });
  return b.build();
}

function flagsOf(options: PackOptions): number {
  return (
    (options.overlay ? flag.PACK_OVERLAY : 0) |
    (options.headersOnly ? flag.PACK_HEADERS : 0) |
    (options.oneFileSystem ? flag.PACK_ONE_FILE_SYSTEM : 0) |
    (options.rootOwns ? flag.PACK_ROOT_OWNS : 0)
  );
}
