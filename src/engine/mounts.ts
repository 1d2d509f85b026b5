import { randomBytes } from '../ground/crypto.ts';
import { mkdir, stat } from 'node:fs/promises';
import { KeelsonError, fromSystemError } from '../ground/errors.ts';
import { cleanPath } from './merge-config.ts';
import { printable } from './names.ts';
import type { ResolvedMount } from './record.ts';
import type { MountSpec } from './types.ts';
import { invalid, splitOnce } from './validate.ts';
import { checkVolumeName } from './volume-names.ts';

/** Bounds what one container may mount. */
const mostMounts = 1000;

/**
 * All mounts of a container to be: those of `--volumes-from` first, overridden by target by the caller's own, then the image's
 * VOLUMEs where nothing else is. Checks words and names; looks at the host only for the sources of binds.
 */
export async function resolveMounts(
  own: readonly MountSpec[],
  imageVolumes: readonly string[],
  inherited: readonly ResolvedMount[],
): Promise<readonly ResolvedMount[]> {
  const byTarget = new Map<string, ResolvedMount>();
  for (const mount of inherited) byTarget.set(mount.target, mount);
  const mine = new Set<string>();
  for (const spec of own) {
    const mount = await resolveMount(spec);
    if (mine.has(mount.target)) throw invalid(`Duplicate mount point: ${printable(mount.target)}`);
    mine.add(mount.target);
    byTarget.set(mount.target, mount);
  }
  for (const target of imageVolumes) {
    if (byTarget.has(target)) continue;
    // What the kernel's own file systems show must not be hidden: masks and labels are put there (CVE-2015-3631).
    if (/^\/(proc|sys)(\/|$)|^\/dev$/.test(target)) throw invalid(`invalid volume in the image: ${printable(target)}`);
    const name = anonymousName();
    byTarget.set(target, {
      type: 'volume',
      source: name,
      name,
      target,
      readOnly: false,
      anonymous: true,
      fromImage: true,
    });
  }
  if (byTarget.size > mostMounts) throw invalid(`more than ${mostMounts} mounts`);
  // A mount above another one comes first; order is otherwise as given.
  return [...byTarget.values()].toSorted((a, b) => depth(a.target) - depth(b.target));
}

/** `container[:ro|:rw|:z…]` of `--volumes-from`: the container and whether its mounts are read-only here. */
export function parseVolumesFrom(word: string): { id: string; readOnly: boolean } {
  const [id, mode = 'rw'] = splitOnce(word, ':');
  const words = mode.split(',');
  if (id === '') throw invalid('malformed volumes-from specification: empty container');
  if (words.some((w) => !['ro', 'rw', 'z', 'Z', 'nocopy'].includes(w))) {
    throw invalid(`invalid mode for volumes-from: ${printable(mode)}`);
  }
  return { id, readOnly: words.includes('ro') };
}

async function resolveMount(spec: MountSpec): Promise<ResolvedMount> {
  const bad = (why: string): KeelsonError => invalid(`invalid mount config for type "${spec.type}": ${why}`);
  if (!['bind', 'volume', 'tmpfs'].includes(spec.type)) throw invalid(`mount type unknown: "${printable(spec.type)}"`);
  if (spec.target.includes('\0') || spec.source.includes('\0')) throw bad('a path contains a NUL byte');
  if (spec.target === '') throw bad('field Target must not be empty');
  if (!spec.target.startsWith('/'))
    throw bad(`invalid mount path: '${printable(spec.target)}' mount path must be absolute`);
  const target = cleanPath(spec.target);
  if (target === '/') throw bad("invalid specification: destination can't be '/'");
  if (hidesProc(target) && !(target === '/proc' && spec.source === '/proc')) {
    throw bad(`"${printable(target)}" cannot be mounted because it is inside /proc`);
  }
  switch (spec.type) {
    case 'tmpfs':
      checkTmpfs(spec, bad);
      return { ...spec, target, source: '', name: '', anonymous: false };
    case 'volume': {
      if (spec.source === '') {
        const name = anonymousName();
        return { ...spec, target, source: name, name, anonymous: true };
      }
      checkVolumeName(spec.source);
      return { ...spec, target, name: spec.source, anonymous: false };
    }
    default:
      return { ...spec, target, source: await bindSource(spec, bad), name: '', anonymous: false };
  }
}

/** Of /proc only what tells of resources may be replaced, as with runc: lxcfs does so. */
const replaceable = ['cpuinfo', 'diskstats', 'meminfo', 'stat', 'swaps', 'uptime', 'loadavg', 'slabinfo'];

function hidesProc(target: string): boolean {
  if (target !== '/proc' && !target.startsWith('/proc/')) return false;
  return !replaceable.includes(target.slice('/proc/'.length));
}

async function bindSource(spec: MountSpec, bad: (why: string) => KeelsonError): Promise<string> {
  if (spec.source === '') throw bad('field Source must not be empty');
  if (!spec.source.startsWith('/'))
    throw bad(`invalid mount path: '${printable(spec.source)}' mount path must be absolute`);
  const modes = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];
  if (spec.propagation !== undefined && !modes.includes(spec.propagation)) {
    throw bad(`invalid propagation mode: ${printable(spec.propagation)}`);
  }
  const source = cleanPath(spec.source);
  try {
    await stat(source);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') throw fromSystemError(error, `looking at the bind source ${source}`);
    if (!spec.createSource) throw bad(`bind source path does not exist: ${printable(source)}`);
  }
  return source;
}

/** Makes the missing source directory of a `-v` bind, as docker does when the container starts. */
export async function ensureBindSource(mount: ResolvedMount): Promise<void> {
  try {
    await stat(mount.source);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' || !mount.createSource) {
      throw code === 'ENOENT'
        ? invalid(`invalid mount config for type "bind": bind source path does not exist: ${printable(mount.source)}`)
        : fromSystemError(error, `looking at the bind source ${mount.source}`);
    }
    await mkdir(mount.source, { recursive: true, mode: 0o755 }).catch((cause: unknown) => {
      throw fromSystemError(cause, `error while creating mount source path '${mount.source}'`);
    });
  }
}

/** Words of mount(8) that a tmpfs may have; anything else, or a second option after a comma, is refused. */
const tmpfsWords =
  /^(?:(?:no)?(?:exec|suid|dev|atime|diratime|relatime|strictatime)|r[ow]|a?sync|(?:size|nr_blocks|nr_inodes)=\d+[kmgKMG%]?|mode=[0-7]{3,4}|[ug]id=\d{1,10}|huge=(?:never|always|within_size|advise)|r?(?:private|shared|slave))$/;

function checkTmpfs(spec: MountSpec, bad: (why: string) => KeelsonError): void {
  if (spec.source !== '') throw bad('field Source must not be specified');
  if (spec.tmpfsSize !== undefined && (!Number.isSafeInteger(spec.tmpfsSize) || spec.tmpfsSize < 0)) {
    throw bad(`invalid size: ${spec.tmpfsSize}`);
  }
  if (spec.tmpfsMode !== undefined && !(spec.tmpfsMode >= 0 && spec.tmpfsMode <= 0o7777)) throw bad('invalid mode');
  for (const word of spec.options ?? []) {
    if (!tmpfsWords.test(word)) throw invalid(`invalid tmpfs option ["${printable(word)}"]`);
  }
}

function anonymousName(): string {
  return randomBytes(32).toString('hex');
}

function depth(path: string): number {
  return path.split('/').length;
}
