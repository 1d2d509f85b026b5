import { AT_FDCWD, CLONE_NEWTIME, O_CLOEXEC, O_WRONLY } from '../kernel/constants.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Linux } from '../spec/runtime.ts';

/** time_namespaces(7): made for the children to come, its clocks set before the first of them is there. */
export function newTimeNamespace(b: PlanBuilder, offsets: Linux['timeOffsets']): void {
  b.group('namespaces').doing('creating the time namespace');
  b.sys('unshare', [CLONE_NEWTIME]);
  const lines = Object.entries(offsets ?? {}).map(
    ([clock, { secs = 0, nanosecs = 0 }]) => `${clock} ${secs} ${nanosecs}\n`,
  );
  if (lines.length === 0) return;
  b.doing('setting the offsets of the time namespace');
  const fd = b.sys('openat', [AT_FDCWD, '/proc/self/timens_offsets', O_WRONLY | O_CLOEXEC]);
  b.write(fd, lines.join(''));
  b.sys('close', [fd]);
}
