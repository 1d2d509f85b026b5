import { resolve } from 'node:path';
import { KeelsonError } from '../../../ground/errors.ts';
import { isBind } from '../../../runtime/mount-sources.ts';
import { changeMounts } from '../../../runtime/lifecycle/change-mounts.ts';
import { validateMounts } from '../../../spec/config.ts';
import { parseExact } from '../../../spec/shape.ts';
import { readInput } from '../read-input.ts';
import type { Command } from '../session.ts';

/** crun's: the file holds a list as `mounts` of a config. */
export const mounts: Command = {
  flags: {},
  async run(session, { words }) {
    const [change, id = '', file = ''] = words;
    if (change !== 'add' && change !== 'remove')
      throw new KeelsonError('invalid-argument', `mounts ${JSON.stringify(change)}: add or remove`);
    const found = session.host.store.find(id);
    const given = validateMounts(parseExact(await readInput(session, file), file));
    const list = given.map((mount) =>
      isBind(mount) && mount.source ? { ...mount, source: resolve(session.caller.cwd, mount.source) } : mount,
    );
    await changeMounts(session.host, found, change, list);
    return 0;
  },
};
