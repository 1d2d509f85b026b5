import { KeelsonError } from '../../../ground/errors.ts';
import type { Command } from '../session.ts';

/** `checkpoint` and `restore`: refused before their flags are looked at. */
export const checkpoint: Command = {
  flags: {},
  anyFlags: true,
  async run() {
    throw new KeelsonError('unsupported', 'checkpoint and restore are not supported by keelson-oci');
  },
};
