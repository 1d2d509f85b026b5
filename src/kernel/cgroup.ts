import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fromSystemError, KeelsonError } from '../ground/errors.ts';
import type { LinuxResources } from '../spec/runtime.ts';
import type { CgroupDriver, CgroupFileValue, CgroupWrite, ReadText } from './cgroup-driver.ts';
import { cgroupV1 } from './cgroup-v1.ts';
import { cgroupV2 } from './cgroup-v2.ts';
import { cgroupDirectory, type CgroupFacts } from './facts-cgroup.ts';

/** The driver for this machine; `unsupported` where no control groups are mounted. */
export function cgroupDriver(facts: CgroupFacts): CgroupDriver {
  if (facts.mode === 'none') throw new KeelsonError('unsupported', 'no control groups are mounted here');
  return facts.mode === 'unified' ? cgroupV2 : cgroupV1;
}

/** Reads a small file whole; undefined if that can't be done. */
export const readText: ReadText = (path) => {
  try {
    // Absent files are common, and an exception costs more than a look.
    if (!existsSync(path)) return undefined;
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
};

/**
 * Makes the writes of `CgroupDriver.update`. Limits bound each other (memory and memory with swap, a period and its quota and burst), so
 * that which of two goes first depends on what there was before: one that the kernel refuses is tried again after the others.
 */
export function writeLimits(writes: readonly (CgroupFileValue & CgroupWrite)[]): void {
  for (let left = writes; left.length > 0; ) {
    let first: KeelsonError | undefined;
    const refused = left.filter(({ path, value, whenMissing }) => {
      try {
        writeFileSync(path, value, { flag: 'r+' });
        return false;
      } catch (error) {
        const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
        if (whenMissing === 'ignore' || (missing && whenMissing === 'warn')) return false;
        first ??= fromSystemError(error, `writing ${JSON.stringify(value)} to ${path}`);
        return true;
      }
    });
    if (first && refused.length === left.length) throw first;
    left = refused;
  }
}

/** Who asks, and what may be asked of the file system: injected for tests. */
export interface PlacementInput {
  readonly facts: CgroupFacts;
  /** Only what was delegated to this user is theirs; root has the whole tree. */
  readonly rootless: boolean;
  /** `linux.cgroupsPath`. */
  readonly cgroupsPath?: string;
  readonly id: string;
  readonly read?: ReadText;
  /** Whether this user owns the directory, and so may make groups in it. */
  readonly owns?: (directory: string) => boolean;
}

/**
 * The path of a container's group from the root of the hierarchies: `cgroupsPath` where it is given (relative ones count from the
 * same place as the default), else `/keelson/<id>` for root; for an ordinary user below the part of the tree that was delegated to
 * it (cgroup v2). Undefined when there is no such part: the container then stays in the group of its maker.
 */
export function cgroupPath(input: PlacementInput): string | undefined {
  const { facts, rootless, cgroupsPath, id } = input;
  const base = rootless ? delegatedBase(input) : '/';
  if (cgroupsPath !== undefined && cgroupsPath !== '') {
    // Joined to the root first, so that no `..` climbs.
    const path = join('/', cgroupsPath);
    if (path === '/') {
      throw new KeelsonError(
        'invalid-argument',
        `linux.cgroupsPath: "${cgroupsPath}" is the root of the hierarchies, which holds everything; a container needs a group of its own`,
      );
    }
    return cgroupsPath.startsWith('/') ? path : join(base ?? '/', path);
  }
  if (facts.mode === 'none' || base === undefined) return undefined;
  return join(base, 'keelson', id);
}

/**
 * The group to make groups in: the lowest one at or above our own that belongs to us and has no processes in it, since a group with
 * processes can't offer controllers to its children (cgroups(7), "no internal processes").
 */
function delegatedBase({ facts, read = readText, owns = ownsDirectory }: PlacementInput): string | undefined {
  const mount = facts.v2;
  if (facts.mode !== 'unified' || !mount) return undefined;
  let directory = cgroupDirectory(mount, mount.own);
  let found: string | undefined;
  while (directory !== undefined && owns(directory)) {
    found = directory;
    if (directory === mount.mountPoint || (read(join(directory, 'cgroup.procs')) ?? '').trim() === '') break;
    directory = dirname(directory);
  }
  return found === undefined ? undefined : found.slice(mount.mountPoint.length) || '/';
}

function ownsDirectory(directory: string): boolean {
  try {
    return statSync(directory, { throwIfNoEntry: false })?.uid === process.geteuid?.();
  } catch {
    return false;
  }
}

/** The names of limits in `resources` that only a group of the container's own could keep; for a warning or an error. */
export function namesOfLimits(resources: LinuxResources): readonly string[] {
  const { devices: _, ...limits } = resources;
  return Object.entries(limits)
    .filter(([, value]) => Object.keys(value).length > 0)
    .map(([name]) => name);
}
