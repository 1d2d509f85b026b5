/** Everything in the new root but the mounts: devices, terminal, hidden and protected paths. */
import { MOUNT_ATTR_RDONLY, O_NOCTTY, O_PATH, O_RDWR, openFlags } from '../kernel/constants.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Linux } from '../spec/runtime.ts';
import { allDevices, makeDevices } from './devices.ts';
import { setAttributes } from './filesystem.ts';
import { ensureDirectory, noLinks, openIn } from './in-root.ts';
import { maskPaths, protectPaths } from './masks.ts';
import { mountConsole, openTerminal } from './stdio.ts';

export interface RootFinish {
  readonly linux: Linux | undefined;
  /** The host's /dev/null, and the container's /dev where it is a mount of its own. */
  readonly nul: Reg;
  readonly dev: Reg | undefined;
  /** Make nodes in the /dev of the root itself when none is mounted. */
  readonly devInRoot?: boolean;
  readonly sealDev?: boolean;
  readonly terminal: boolean;
  readonly userNamespace: boolean;
  /** Device nodes that the executor has made; see sendNodes. */
  readonly nodes?: () => Reg;
  /** A directory to make. */
  readonly cwd?: string;
}

export function finishRoot(b: PlanBuilder, root: Reg, p: RootFinish): { master: Reg; slave: Reg } | undefined {
  const dev = p.dev ?? (p.devInRoot ? devOfRoot(b, root) : undefined);
  if (dev) {
    makeDevices(b, root, dev, allDevices(p.linux?.devices), {
      bind: p.userNamespace,
      ...(p.nodes && { nodes: p.nodes }),
    });
  }
  let terminal: { master: Reg; slave: Reg } | undefined;
  if (p.terminal) {
    const ptmx = openIn(b.group('exec').doing('opening a terminal'), root, '/dev/pts/ptmx', {
      flags: O_RDWR | O_NOCTTY,
    });
    terminal = openTerminal(b, ptmx);
    mountConsole(b, root, terminal.slave);
  }
  if (p.cwd !== undefined) {
    b.group('exec').doing(`making the working directory ${p.cwd}`);
    b.sys('close', [ensureDirectory(b, root, p.cwd)]);
  }
  if (dev && dev !== p.dev) b.sys('close', [dev]);
  if (p.sealDev && p.dev) {
    b.group('devices').doing('making /dev read-only');
    setAttributes(b, p.dev, { set: MOUNT_ATTR_RDONLY });
  }
  protectPaths(b, root, p.linux?.readonlyPaths ?? []);
  maskPaths(b, root, p.nul, p.linux?.maskedPaths ?? []);
  return terminal;
}

function devOfRoot(b: PlanBuilder, root: Reg): Reg {
  b.group('devices').doing('opening /dev');
  b.sys('close', [ensureDirectory(b, root, '/dev', { resolve: noLinks })]);
  return openIn(b, root, '/dev', { flags: O_PATH | openFlags(b.arch).O_DIRECTORY, resolve: noLinks });
}
