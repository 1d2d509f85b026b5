import { startContainer } from '../../../runtime/lifecycle/start.ts';
import type { Command } from '../session.ts';
import { containerId } from './create.ts';

export const start: Command = {
  flags: {},
  async run({ host }, args) {
    await startContainer(host, host.store.find(containerId(args)));
    return 0;
  },
};
