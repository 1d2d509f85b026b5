import { KeelsonError } from '../../../ground/errors.ts';
import { SIGKILL } from '../../../kernel/constants.ts';
import { signalNumber } from '../../../kernel/signals.ts';
import { isAlive, statusOf } from '../../../runtime/lifecycle/container-state.ts';
import { groupPids, killAll } from '../../../runtime/lifecycle/discard.ts';
import { signalProcess } from '../../../runtime/lifecycle/signal.ts';
import { specOf } from '../../../runtime/lifecycle/start.ts';
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
    const orphans = status === 'stopped' ? groupPids(found.state) : [];
    if (!isAlive(found.state) && orphans.length === 0) {
      if (args.bool('all')) return 0;
      throw new KeelsonError('conflict', 'container not running');
    }
    if (orphans.length > 0) {
      for (const pid of orphans) process.kill(pid, signal);
      return 0;
    }
    // Without a pid namespace of its own, nobody else ends what the first process leaves behind.
    const ownPids = specOf(found).linux?.namespaces?.some((n) => n.type === 'pid') ?? false;
    if (signal === SIGKILL && !ownPids) await killAll(host, found);
    else await signalProcess(host, found.state, signal);
    return 0;
  },
};
