import { KeelsonError } from '../../../ground/errors.ts';
import { signalNumber } from '../../../kernel/signals.ts';
import { isAlive, statusOf } from '../../../runtime/lifecycle/container-state.ts';
import { groupPids } from '../../../runtime/lifecycle/discard.ts';
import { signalProcess } from '../../../runtime/lifecycle/signal.ts';
import type { Command } from '../session.ts';

export const kill: Command = {
  flags: { all: { kind: 'bool', short: ['a'] } },
  async run({ host }, args) {
    const [id, name = 'SIGTERM'] = args.words;
    if (id === undefined || args.words.length > 2)
      throw new KeelsonError('invalid-argument', 'usage: kill ID [SIGNAL]');
    const found = host.store.find(id);
    // 0 asks whether the process is there (kill(2)).
    const signal = name === '0' ? 0 : signalNumber(name.replace(/^-/, ''));
    const status = statusOf(found.state, found.files);
    if (!isAlive(found.state) && !(args.bool('all') && status === 'stopped')) {
      throw new KeelsonError('conflict', 'container not running');
    }
    if (args.bool('all') && !isAlive(found.state)) {
      for (const pid of groupPids(found.state)) process.kill(pid, signal);
      return 0;
    }
    await signalProcess(host, found.state, signal);
    return 0;
  },
};
