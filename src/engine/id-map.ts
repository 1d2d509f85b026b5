import { KeelsonError } from '../ground/errors.ts';
import { type HostFacts, subordinateIds } from '../kernel/facts.ts';
import type { IdMapper } from '../runtime/userns-steps.ts';
import type { LinuxIdMapping } from '../spec/runtime.ts';
import type { ContainerConfig } from './types.ts';

export interface IdMap {
  readonly uids: readonly LinuxIdMapping[];
  readonly gids: readonly LinuxIdMapping[];
  readonly mapper: IdMapper;
}

/** Where root's containers with a user namespace of their own are put (`--userns auto`): far above every real user. */
const autoBase = 2_147_000_000 - 65_536 * 1000;

/** Undefined for a container that shares the host's user namespace. An ordinary user's never does. */
export function idMapOf(config: ContainerConfig, facts: HostFacts): IdMap | undefined {
  if (facts.euid !== 0) return rootlessMap(facts);
  const mode = config.usernsMode ?? '';
  if (mode === '' || mode === 'host') return undefined;
  const [uid = autoBase, gid = autoBase, size = 65_536] = mode === 'auto' ? [] : mode.split(':').map(Number);
  if (size < 1 || uid + size > 2 ** 32 - 1 || gid + size > 2 ** 32 - 1) {
    throw new KeelsonError('invalid-argument', `invalid USER mode: ${mode}: the range does not fit into 32 bits`);
  }
  return {
    uids: [{ containerID: 0, hostID: uid, size }],
    gids: [{ containerID: 0, hostID: gid, size }],
    mapper: { kind: 'direct' },
  };
}

/** The user is root inside; the subordinate ids follow, where there are some and the set-uid helpers to use them. */
function rootlessMap(facts: HostFacts): IdMap {
  const own = (id: number): LinuxIdMapping => ({ containerID: 0, hostID: id, size: 1 });
  const ids = subordinateIds();
  const { newuidmap, newgidmap } = ids;
  if (newuidmap === undefined || newgidmap === undefined || ids.uids.length === 0 || ids.gids.length === 0) {
    return { uids: [own(facts.euid)], gids: [own(facts.egid)], mapper: { kind: 'self' } };
  }
  const append = (first: LinuxIdMapping, ranges: typeof ids.uids): LinuxIdMapping[] => {
    const map = [first];
    let next = 1;
    for (const { start, count } of ranges) {
      map.push({ containerID: next, hostID: start, size: count });
      next += count;
    }
    return map;
  };
  return {
    uids: append(own(facts.euid), ids.uids),
    gids: append(own(facts.egid), ids.gids),
    mapper: { kind: 'helpers', newuidmap, newgidmap },
  };
}
