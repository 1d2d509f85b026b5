import { KeelsonError } from '../../ground/errors.ts';
import { statusOf } from './container-state.ts';
import type { Host } from './host.ts';
import { killAll, removeGroups } from './discard.ts';
import { hooksAfterStop } from './start.ts';
import type { Found } from './state-store.ts';

/** `delete`: a container that has ended or never started; with `force` any. */
export async function deleteContainer(host: Host, found: Found, options: { force: boolean }): Promise<void> {
  const status = statusOf(found.state, found.files);
  if (status !== 'stopped' && status !== 'created' && !options.force) {
    throw new KeelsonError('conflict', `cannot delete container ${found.state.id} that is not stopped: ${status}`);
  }
  await killAll(host, found);
  await removeGroups(host, found.state);
  await hooksAfterStop(host, found);
  host.store.remove(found.files);
}
