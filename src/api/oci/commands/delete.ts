import { isKeelsonError, KeelsonError } from '../../../ground/errors.ts';
import { deleteContainer } from '../../../runtime/lifecycle/delete.ts';
import { removeRemains } from '../../../runtime/lifecycle/remains.ts';
import type { Command, Session } from '../session.ts';
import { errorText } from '../session.ts';
import { containerId } from './create.ts';

export const deleteCommand: Command = {
  flags: { force: { kind: 'bool', short: ['f'] }, regex: { kind: 'bool', short: ['r'] } },
  async run(session, args) {
    const { host } = session;
    const id = containerId(args);
    const force = args.bool('force');
    if (args.bool('regex')) return deleteMatching(session, id, force);
    try {
      await deleteContainer(host, host.store.find(id), { force });
    } catch (error) {
      if (!force || !(isKeelsonError(error, 'not-found') || isKeelsonError(error, 'corrupt'))) throw error;
      await removeRemains(host, id);
    }
    return 0;
  },
};

/** crun's: all containers in whose ID the pattern is found. One that can't be deleted keeps nobody else from it. */
async function deleteMatching({ host, log }: Session, text: string, force: boolean): Promise<number> {
  let pattern: RegExp;
  try {
    pattern = new RegExp(text);
  } catch (cause) {
    throw new KeelsonError('invalid-argument', `invalid regular expression ${text}`, { cause });
  }
  for (const found of host.store.all({ mayBeMissing: true })) {
    if (!pattern.test(found.state.id)) continue;
    try {
      await deleteContainer(host, found, { force });
    } catch (error) {
      log('error', errorText(error));
    }
  }
  return 0;
}
