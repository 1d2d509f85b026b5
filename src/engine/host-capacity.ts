import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { HostFacts } from '../kernel/facts.ts';
import { type HostCapacity, parseCpuset } from './validate-resources.ts';

const known = new WeakMap<HostFacts, HostCapacity>();

/** What limits this machine can set, from its facts and a few files of /sys; looked up once. */
export function hostCapacity(facts: HostFacts): HostCapacity {
  const found = known.get(facts) ?? gather(facts);
  known.set(facts, found);
  return found;
}

function gather(facts: HostFacts): HostCapacity {
  const { mode, v1, v2 } = facts.cgroup;
  const unified = mode === 'unified';
  const controllers = new Set(unified ? v2?.controllers : v1.flatMap((mount) => mount.controllers));
  const inV1 = (controller: string, file: string): boolean => {
    const mount = v1.find((m) => m.controllers.includes(controller));
    return mount !== undefined && existsSync(join(mount.mountPoint, file));
  };
  const onlineCpus = idsIn('/sys/devices/system/cpu/online');
  return {
    cpus: onlineCpus.size || availableParallelism(),
    onlineCpus,
    onlineNodes: idsIn('/sys/devices/system/node/online'),
    memoryLimit: controllers.has('memory'),
    swapLimit: unified ? controllers.has('memory') : inV1('memory', 'memory.memsw.limit_in_bytes'),
    pidsLimit: controllers.has('pids'),
    cpuLimit: controllers.has('cpu'),
    cpuset: controllers.has('cpuset'),
    blkioWeight: unified ? controllers.has('io') : inV1('blkio', 'blkio.weight') || inV1('blkio', 'blkio.bfq.weight'),
    cgroupV2: unified,
  };
}

/** 0 alone where the kernel says nothing: machines without NUMA have no node directory. */
function idsIn(path: string): ReadonlySet<number> {
  try {
    return new Set(parseCpuset(readFileSync(path, 'utf8').trim()) ?? [0]);
  } catch {
    return new Set([0]);
  }
}
