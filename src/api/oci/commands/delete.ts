import { isKeelsonError } from '../../../ground/errors.ts';
import { deleteContainer } from '../../../runtime/lifecycle/delete.ts';
import { containerFiles } from '../../../runtime/lifecycle/container-state.ts';
import { checkId } from '../../../runtime/lifecycle/state-store.ts';
import type { Command } from '../session.ts';
import { containerId } from './create.ts';

export const deleteCommand: Command = {
  flags: { force: { kind: 'bool', short: ['f'] } },
  async run({ host }, args) {
    const id = containerId(args);
    const force = args.bool('force');
    try {
      await deleteContainer(host, host.store.find(id), { force });
    } catch (error) {
      if (!force || !isKeelsonError(error, 'not-found')) throw error;
      checkId(id);
      host.store.remove(containerFiles(host.store.root, id)); // what a creation that died early has left
    }
    return 0;
  },
};
