import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import type { Place, SandboxIds } from '../image/sandbox.ts';
import { hostInput } from '../runtime/host-input.ts';
import { mountAll } from '../runtime/mounts.ts';
import { isAlive } from '../store/process-identity.ts';
import { mkdir } from 'node:fs/promises';
import { idMapOf } from './id-map.ts';
import { isRunning } from './joins.ts';
import { mountPoint, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';
import { layOut } from './run-plan.ts';

/** Where a container's files are to be found. */
export interface ContainerPlace {
  readonly place: Place;
  readonly ids?: SandboxIds;
}

/**
 * The files of a container as its processes see them, volumes and all: through its first process while it runs, else by mounting
 * its root, and with `volumes` what belongs into it, for one operation of keel's only.
 */
export async function placeOf(
  parts: Parts,
  context: Context,
  record: ContainerRecord,
  options: { volumes: boolean },
): Promise<ContainerPlace> {
  const idMap = idMapOf(parts.facts);
  if (isRunning(parts, record)) {
    if (!isAlive({ pid: record.pid, start: record.pidStart, boot: record.boot })) {
      throw new KeelsonError('conflict', `container ${record.name} is just ending: try again`);
    }
    return { place: { kind: 'process', pid: record.pid, ...(idMap && { userNamespace: true }) } };
  }
  await mkdir(mountPoint(parts.paths), { recursive: true, mode: 0o700 });
  const host = hostInput(parts.facts);
  const place: Place = {
    kind: 'root',
    source: await parts.images.containerRoot(context, record.id, record.imageId),
    mountPoint: mountPoint(parts.paths),
    lowerdirPlus: host.lowerdirPlus,
    ...(options.volumes && {
      more: (b, root) => {
        mountAll(b, root, ownMounts(parts, record), {
          ...host.mountFacts,
          userNamespace: false,
          ownNetwork: false,
          ownPids: false,
        });
      },
    }),
  };
  // An ordinary user mounts in a user namespace of the operation's own.
  return parts.facts.euid !== 0 && idMap ? { place, ids: idMap } : { place };
}

/** What the container's maker asked to be mounted; not /proc and its like. */
function ownMounts(parts: Parts, record: ContainerRecord): NonNullable<ReturnType<typeof layOut>['spec']['mounts']> {
  const targets = new Set(record.spec.mounts.filter((m) => m.type !== 'tmpfs').map((m) => m.target));
  return (layOut(parts, record).spec.mounts ?? []).filter((mount) => targets.has(mount.destination));
}
