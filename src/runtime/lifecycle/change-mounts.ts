/** `mounts add` and `mounts remove`: what crun can do to a running container. */
import { KeelsonError } from '../../ground/errors.ts';
import { namespaceTypes, type Mount } from '../../spec/runtime.ts';
import { hostInput } from '../host-input.ts';
import { mountInsidePlan } from '../mount-inside-plan.ts';
import { isAlive, statusOf } from './container-state.ts';
import { isForeign } from './exec.ts';
import type { Host } from './host.ts';
import type { Found } from './state-store.ts';

export async function changeMounts(
  host: Host,
  { state, files }: Found,
  change: 'add' | 'remove',
  mounts: readonly Mount[],
): Promise<void> {
  if (statusOf(state, files) === 'stopped') throw new KeelsonError('conflict', 'container not running');
  const pid = state.init_process_pid;
  const { arch, mountFacts } = hostInput(host.facts);
  const namespaces = namespaceTypes.filter((type) => isForeign(pid, host.caller, type));
  if (!namespaces.includes('mount'))
    throw new KeelsonError('unsupported', `container ${state.id} has no mount namespace of its own`);
  const planned = mountInsidePlan({ arch, mountFacts, pid, namespaces, change, mounts });
  await host.runner.run(planned.plan, {
    onSync: (message) =>
      planned.resume(message, () => {
        if (!isAlive(state)) throw new KeelsonError('conflict', 'container not running');
      }),
  });
}
