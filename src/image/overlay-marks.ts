import type { Context } from '../ground/context.ts';
import { AT_EMPTY_PATH, AT_FDCWD, O_CLOEXEC, O_PATH, O_RDONLY, openFlags } from '../kernel/constants.ts';
import type { Keel } from '../kernel/keel.ts';
import type { Reg, Value } from '../kernel/plan.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import { hostArch } from '../kernel/syscalls.ts';
import { noLinks } from '../runtime/in-root.ts';
import { makingCapabilities, type SandboxIds, sandboxed } from './sandbox.ts';

/** Paths dealt with by one plan: each takes some registers. */
const batch = 1000;

/**
 * Marks directories of an unpacked layer as opaque (trusted.overlay.opaque, which the sandbox of `unpack` may not set), and waits until all of
 * the layer is on the disk.
 */
export async function finishLayer(
  keel: Keel,
  files: string,
  opaque: readonly Buffer[],
  context: Context,
): Promise<void> {
  for (let at = 0; at < opaque.length; at += batch) {
    const b = new PlanBuilder(hostArch());
    b.group('layer').doing('marking opaque directories');
    const root = openDirectory(b, files);
    for (const path of opaque.slice(at, at + batch)) {
      const fd = openBeneath(b, root, path, O_RDONLY);
      b.sys('fsetxattr', [fd, 'trusted.overlay.opaque', 'y', 1, 0]);
      b.sys('close', [fd]);
    }
    await keel.run(b.build(), {}, context);
  }
  const b = new PlanBuilder(hostArch());
  b.group('layer').doing('waiting for the disk');
  // One call for the file system as a whole: a sync of each of some ten thousand files takes far longer.
  b.sys('syncfs', [b.sys('openat', [AT_FDCWD, files, O_RDONLY | O_CLOEXEC])]);
  await keel.run(b.build(), {}, context);
}

export interface Implied {
  /** Directory that holds the layers. */
  readonly top: string;
  /** The layer's directory in there, and those below it, the nearest first. */
  readonly own: string;
  readonly below: readonly string[];
  readonly paths: readonly Buffer[];
  readonly ids: SandboxIds | undefined;
}

/** Gives directories owner, mode and time of the nearest one below that is called the same. */
export async function settleImplied(keel: Keel, implied: Implied, context: Context): Promise<void> {
  if (implied.below.length === 0) return;
  for (let at = 0; at < implied.paths.length; at += batch) {
    const b = new PlanBuilder(hostArch());
    sandboxed(
      b,
      { place: { kind: 'directory', path: implied.top }, ids: implied.ids, capabilities: makingCapabilities },
      () => {
        b.group('layer').doing('setting owner and mode of directories that the layer only implies');
        const own = openDirectory(b, `${implied.own}/fs`);
        const below = implied.below.map((name) => openDirectory(b, `${name}/fs`));
        const stat = b.blob(256, 'struct statx');
        const times = b.blob(32, 'struct timespec[2]');
        for (const path of implied.paths.slice(at, at + batch)) settleOne(b, own, below, path, stat, times);
      },
    );
    await keel.run(b.build(), {}, context);
  }
}

type Blob = ReturnType<PlanBuilder['blob']>;

const STATX_BASIC_STATS = 0x7ff;
/** Offsets in struct statx (statx(2)). */
const statx = { uid: 20, gid: 24, mode: 28, mtime: 112, mtimeNs: 120 };

function settleOne(b: PlanBuilder, own: Reg, below: readonly Reg[], path: Buffer, stat: Blob, times: Blob): void {
  const [found, next] = [b.label(), b.label()];
  const template = b.reg('below');
  for (const layer of below) {
    const missing = b.label();
    openBeneath(b, layer, path, O_PATH, { dst: template, on: { any: missing } });
    b.jump(found);
    b.place(missing);
  }
  b.jump(next);
  b.place(found);
  b.sys('statx', [template, '', AT_EMPTY_PATH, STATX_BASIC_STATS, stat]);
  b.sys('close', [template]);
  const field = (offset: number, size: 2 | 4 | 8): Value => b.peek({ ...stat, offset }, size);
  // An entry through a symbolic link may have implied it: then it isn't there under this name.
  const fd = openBeneath(b, own, path, O_RDONLY, { on: { any: next } });
  b.sys('fchown', [fd, field(statx.uid, 4), field(statx.gid, 4)]);
  b.sys('fchmod', [fd, field(statx.mode, 2)]);
  for (const offset of [0, 16]) {
    b.poke({ ...times, offset }, 8, field(statx.mtime, 8));
    b.poke({ ...times, offset: offset + 8 }, 8, field(statx.mtimeNs, 4));
  }
  b.sys('utimensat', [fd, 0, times, 0]);
  b.sys('close', [fd]);
  b.place(next);
}

function openDirectory(b: PlanBuilder, path: string): Reg {
  return b.sys('openat', [AT_FDCWD, path, O_PATH | openFlags(b.arch).O_DIRECTORY | O_CLOEXEC]);
}

/** A directory beneath `root`, by a name that no link of the image leads astray. */
function openBeneath(
  b: PlanBuilder,
  root: Reg,
  path: Buffer,
  flags: number,
  options: Parameters<PlanBuilder['sys']>[2] = {},
): Reg {
  const how = b.struct('{O_DIRECTORY, RESOLVE_IN_ROOT|RESOLVE_NO_SYMLINKS}', 24, [
    [0, 8, flags | openFlags(b.arch).O_DIRECTORY | O_CLOEXEC],
    [16, 8, noLinks],
  ]);
  const name = b.blob(Buffer.concat([path, Buffer.from([0])]), JSON.stringify(path.toString()));
  return b.sys('openat2', [root, name, how, 24], options);
}
