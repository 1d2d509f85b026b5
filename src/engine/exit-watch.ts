import { join } from 'node:path';
import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Plan } from '../kernel/plan.ts';
import { pipe } from '../runtime/stdio.ts';
import { isAlive } from '../store/process-identity.ts';
import { containerPaths, type Parts } from './parts.ts';
import type { ContainerRecord } from './record.ts';

const POLLIN = 1;

/**
 * For a container that was started without a restart policy and gets one while it runs: its keeper has no exit command, so a second one keeps a
 * process that only waits for the first keeper's end, and runs the command then.
 */
export async function watchExit(parts: Parts, context: Context, record: ContainerRecord): Promise<void> {
  const kept = await parts.keel.keep(watchPlan(parts, record), {}, context);
  if (!isAlive({ pid: record.keeper, start: record.keeperStart, boot: record.boot })) {
    kept.abandon();
    throw new KeelsonError('conflict', `container ${record.name} has just ended`);
  }
  await kept.start();
}

export function watchPlan(parts: Pick<Parts, 'facts' | 'paths' | 'exitCommand'>, record: ContainerRecord): Plan {
  // Of a policy that comes and goes, each coming has a watch of its own.
  const name = join(containerPaths(parts.paths, record.id).run, `watch-${Date.now().toString(36)}`);
  const b = new PlanBuilder(parts.facts.arch);
  b.group('exec').doing(`watching the keeper of ${record.name}`);
  const keeper = b.sys('pidfd_open', [record.keeper, 0]);
  const gate = pipe(b, 'gate');
  const child = b.clone({ flags: 0n, name: 'watch' }, () => {
    b.sys('close', [gate.write]);
    b.sys('read', [gate.read, b.blob(1), 1]);
    // All else is closed, the report too: that tells the keeper that the process has started.
    b.sys('dup3', [keeper, 0, 0]);
    b.sys('close_range', [1, 0xffffffff, 0]);
    const waiting = b.struct('{fd=0, events=POLLIN}', 8, [
      [0, 4, 0],
      [4, 2, POLLIN],
    ]);
    b.sys('ppoll', [waiting, 1, 0, 0, 0]);
  });
  b.sys('close', [gate.read]);
  b.sys('close', [keeper]);
  if (!child.pidfd) throw new RangeError('a kept process needs a pidfd');
  b.keep(
    {
      pid: child.pid,
      pidfd: child.pidfd,
      gate: gate.write,
      report: child.report,
      stdinOnce: false,
      socket: `${name}.sock`,
      exitRecord: `${name}.json`,
      snapshots: [],
      relays: [],
      exitCommand: [...parts.exitCommand, record.id],
    },
    () => {},
  );
  return b.build();
}
