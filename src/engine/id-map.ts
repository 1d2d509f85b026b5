import { type HostFacts, subordinateIds } from '../kernel/facts.ts';
import type { IdMapper } from '../runtime/userns-steps.ts';
import type { LinuxIdMapping } from '../spec/runtime.ts';

export interface IdMap {
  readonly uids: readonly LinuxIdMapping[];
  readonly gids: readonly LinuxIdMapping[];
  readonly mapper: IdMapper;
}

/** Undefined for root's containers, which share the host's user namespace. An ordinary user's never do. */
export function idMapOf(facts: HostFacts): IdMap | undefined {
  return facts.euid === 0 ? undefined : rootlessMap(facts);
}

/** The user is root inside; the subordinate ids follow, where there are some and the set-uid helpers to use them. */
function rootlessMap(facts: HostFacts): IdMap {
  const own = (id: number): LinuxIdMapping => ({ containerID: 0, hostID: id, size: 1 });
  const ids = subordinateIds();
  const { newuidmap, newgidmap } = ids;
  const mapper: IdMapper = { kind: 'user', uid: facts.euid, gid: facts.egid, newuidmap, newgidmap };
  if (newuidmap === undefined || newgidmap === undefined || ids.uids.length === 0 || ids.gids.length === 0) {
    return { uids: [own(facts.euid)], gids: [own(facts.egid)], mapper };
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
    mapper,
  };
}
