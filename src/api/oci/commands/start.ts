import { deleteContainer } from '../../../runtime/lifecycle/delete.ts';
import { startContainer } from '../../../runtime/lifecycle/start.ts';
import type { Command } from '../session.ts';
import { containerId } from './create.ts';

export const start: Command = {
  flags: {},
  async run({ host }, args) {
    const found = host.store.find(containerId(args));
    await startContainer(host, found, () => deleteContainer(host, found, { force: true }));
    return 0;
  },
};
