/** NUMA memory policy of the container's processes (runtime-spec 1.3, config-linux.md#memory-policy; set_mempolicy(2)). */
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { LinuxMemoryPolicy } from '../spec/runtime.ts';

const modes: Readonly<Record<string, number>> = {
  MPOL_DEFAULT: 0,
  MPOL_PREFERRED: 1,
  MPOL_BIND: 2,
  MPOL_INTERLEAVE: 3,
  MPOL_LOCAL: 4,
  MPOL_PREFERRED_MANY: 5,
  MPOL_WEIGHTED_INTERLEAVE: 6,
};
const flagBits: Readonly<Record<string, number>> = {
  MPOL_F_STATIC_NODES: 1 << 15,
  MPOL_F_RELATIVE_NODES: 1 << 14,
  MPOL_F_NUMA_BALANCING: 1 << 13,
};
/** The kernel's CONFIG_NODES_SHIFT allows for no more anywhere. */
const maxNodes = 1024;

/** What is wrong with it, if anything. */
export function checkMemoryPolicy({
  mode,
  nodes,
  flags = [],
}: LinuxMemoryPolicy): { key: string; why: string } | undefined {
  if (modes[mode] === undefined) return { key: 'mode', why: `invalid memory policy mode ${JSON.stringify(mode)}` };
  const unknown = flags.find((flag) => flagBits[flag] === undefined);
  if (unknown !== undefined) return { key: 'flags', why: `invalid memory policy flag ${JSON.stringify(unknown)}` };
  const list = parseNodes(nodes ?? '');
  if (!list) return { key: 'nodes', why: `invalid memory policy node specification ${JSON.stringify(nodes)}` };
  const none = mode === 'MPOL_DEFAULT' || mode === 'MPOL_LOCAL';
  if (none && list.length > 0)
    return { key: 'nodes', why: `${mode}: the mode requires 0 nodes but got ${list.length}` };
  if (none && flags.length > 0)
    return { key: 'flags', why: `${mode}: the mode requires 0 flags but got ${flags.length}` };
  if (!none && mode !== 'MPOL_PREFERRED' && list.length === 0) {
    return { key: 'nodes', why: `${mode}: the mode requires at least 1 node but got 0` };
  }
  return undefined;
}

/** For this process and all that come from it. */
export function setMemoryPolicy(b: PlanBuilder, policy: LinuxMemoryPolicy): void {
  const { mode, flags = [], nodes = '' } = policy;
  const list = parseNodes(nodes) ?? [];
  const mask = Buffer.alloc(maxNodes / 8);
  for (const node of list) mask[node >> 3] = (mask[node >> 3] ?? 0) | (1 << (node & 7));
  const bits = flags.reduce((all, flag) => all | (flagBits[flag] ?? 0), modes[mode] ?? 0);
  b.group('exec').doing(`setting the memory policy ${mode}${nodes && ` of nodes ${nodes}`}`);
  // The kernel counts one bit less than it is told (set_mempolicy(2), "maxnode").
  b.sys('set_mempolicy', list.length > 0 ? [bits, b.blob(mask, nodes), maxNodes + 1] : [bits, 0, 0]);
}

/** `0-3,7`; undefined for what is no such list. */
function parseNodes(text: string): number[] | undefined {
  const nodes = new Set<number>();
  for (const part of text.split(',').map((p) => p.trim())) {
    if (part === '') continue;
    const range = /^(\d+)(?:-(\d+))?$/.exec(part);
    const [first, last] = [Number(range?.[1]), Number(range?.[2] ?? range?.[1])];
    if (!range || last < first || last >= maxNodes) return undefined;
    for (let node = first; node <= last; node++) nodes.add(node);
  }
  return [...nodes];
}
