import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import { containerEvent } from './container-events.ts';
import { checkName } from './names.ts';
import type { Parts } from './parts.ts';
import { removeLocked } from './remove-locked.ts';
import { kill } from './stop.ts';
import { withContainer } from './with-container.ts';

/** Removes a container that doesn't run; with `force` one that does, too, after SIGKILL. `volumes`: its anonymous ones as well. */
export async function remove(
  parts: Parts,
  context: Context,
  reference: string,
  options: { force?: boolean; volumes?: boolean } = {},
): Promise<void> {
  const { id, name } = parts.records.find(reference);
  for (let attempt = 0; ; attempt++) {
    const live = await withContainer(parts, context, id, 'removing', async (record) => {
      if (record.state === 'running' || record.state === 'paused') return record.state;
      if (record.state === 'restarting' && !options.force) return record.state;
      await removeLocked(parts, context, record, { volumes: options.volumes === true });
      return undefined;
    }).catch((error: unknown) => {
      // It was there: somebody else, or itself with --rm, was faster, or a removal that was cut off has been finished.
      if (error instanceof KeelsonError && error.code === 'not-found') return undefined;
      throw error;
    });
    if (live === undefined) return;
    if (!options.force || attempt > 10) {
      throw new KeelsonError(
        'conflict',
        `cannot remove container "${name}": container is ${live}: stop the container before removing or force remove`,
      );
    }
    await kill(parts, context, id).catch((error: unknown) => {
      if (!(error instanceof KeelsonError) || (error.code !== 'conflict' && error.code !== 'not-found')) throw error;
    });
  }
}

/** Gives another name; docker's error when it is taken. */
export async function rename(parts: Parts, context: Context, reference: string, name: string): Promise<void> {
  await withContainer(parts, context, reference, 'renaming', (record) => {
    const next = checkName(name);
    if (next === record.name) {
      throw new KeelsonError('invalid-argument', 'Renaming a container with the same name as its current name');
    }
    parts.db.immediate(() => {
      parts.records.update(record.id, { name: next });
      containerEvent(parts, { ...record, name: next }, 'rename', { oldName: record.name });
    });
  });
}
