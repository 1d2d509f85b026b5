import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { checkFilters, matchesLabels, matchesNoLabel } from './filters.ts';
import type { Parts } from './parts.ts';
import { printable } from './names.ts';
import { reconcile } from './reconcile.ts';
import { removeLocked } from './remove-locked.ts';
import { sizesOf } from './sizes.ts';
import type { Filters } from './types.ts';
import { withContainer } from './with-container.ts';

export interface Pruned {
  readonly removed: readonly string[];
  /** Bytes that the containers had written. */
  readonly reclaimed: number;
}

/** Removes every container that doesn't run. `until`: milliseconds since the epoch, or RFC 3339; those made before. */
export async function prune(parts: Parts, context: Context, filters: Filters = {}): Promise<Pruned> {
  checkFilters(filters, ['until', 'label', 'label!']);
  const before = Math.min(...(filters['until'] ?? []).map(timeOf));
  await reconcile(parts, context);
  const removed: string[] = [];
  let reclaimed = 0;
  for (const { id } of parts.records.list()) {
    context.check('pruning containers');
    await withContainer(parts, context, id, 'pruning', async (record) => {
      const labels = record.spec.config.labels ?? {};
      if (!['created', 'exited', 'dead'].includes(record.state) || record.createdAt >= before) return;
      if (!matchesLabels(filters, labels) || !matchesNoLabel(filters, labels)) return;
      reclaimed += (await sizesOf(parts, context, record)).sizeRw;
      await removeLocked(parts, context, record, { volumes: false });
      removed.push(id);
    }).catch((error: unknown) => {
      // Somebody else has removed it.
      if (!(error instanceof KeelsonError) || error.code !== 'not-found') throw error;
    });
  }
  parts.events.emit('container', 'prune', '', { reclaimed: String(reclaimed) });
  return { removed, reclaimed };
}

function timeOf(word: string): number {
  const time = /^\d+(\.\d+)?$/.test(word) ? Number(word) : Date.parse(word);
  if (Number.isNaN(time)) throw new KeelsonError('invalid-argument', `invalid filter 'until=[${printable(word)}]'`);
  return time;
}
