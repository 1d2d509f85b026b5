import { setFrozen } from '../../../runtime/lifecycle/freeze.ts';
import type { Command } from '../session.ts';
import { containerId } from './create.ts';

export const pause: Command = {
  flags: {},
  async run({ host }, args) {
    await setFrozen(host, host.store.find(containerId(args)), true);
    return 0;
  },
};
