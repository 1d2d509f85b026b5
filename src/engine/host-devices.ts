import { readdirSync, statSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { KeelsonError } from '../ground/errors.ts';
import type { LinuxDevice } from '../spec/runtime.ts';
import type { DeviceSpec } from './types.ts';

/** The nodes that `--device` names: one, or all below a directory. */
export function hostDevices(spec: DeviceSpec): LinuxDevice[] {
  let stat: Stats;
  try {
    stat = statSync(spec.hostPath);
  } catch (cause) {
    const message = `error gathering device information while adding custom device "${spec.hostPath}": no such file or directory`;
    throw new KeelsonError('invalid-argument', message, { cause });
  }
  if (stat.isDirectory()) return below(spec.hostPath, spec.containerPath);
  const device = deviceOf(stat, spec.containerPath);
  if (!device) {
    const message = `error gathering device information while adding custom device "${spec.hostPath}": not a device node`;
    throw new KeelsonError('invalid-argument', message);
  }
  return [device];
}

/** Every node of the host's /dev, for a privileged container; what a container has of its own is left out. */
export function allHostDevices(): LinuxDevice[] {
  return below('/dev', '/dev', ['pts', 'shm', 'fd', 'mqueue', '.lxc', '.lxd-mounts', '.udev']).filter(
    (d) => d.path !== '/dev/console' && d.path !== '/dev/ptmx' && d.path !== '/dev/tty',
  );
}

function below(directory: string, as: string, except: readonly string[] = []): LinuxDevice[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    if (except.includes(entry.name)) return [];
    const [path, target] = [join(directory, entry.name), join(as, entry.name)];
    if (entry.isDirectory()) return below(path, target);
    if (!entry.isCharacterDevice() && !entry.isBlockDevice()) return [];
    const stat = statSync(path, { throwIfNoEntry: false });
    const device = stat && deviceOf(stat, target);
    return device ? [device] : [];
  });
}

function deviceOf(stat: Stats, path: string): LinuxDevice | undefined {
  const type = stat.isCharacterDevice() ? 'c' : stat.isBlockDevice() ? 'b' : undefined;
  if (type === undefined) return undefined;
  const { rdev } = stat;
  // dev_t as the C library packs it (makedev(3)); rdev stays below 2^53.
  const major = (Math.floor(rdev / 2 ** 32) & 0xfffff000) | ((rdev >>> 8) & 0xfff);
  const minor = ((rdev >>> 12) & 0xffffff00) | (rdev & 0xff);
  return { type, path, major, minor, fileMode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid };
}
