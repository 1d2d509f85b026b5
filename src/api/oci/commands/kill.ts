import { fromSystemError, KeelsonError } from '../../../ground/errors.ts';
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
    // With --all everyone is told, as crun has it; otherwise those who are left.
    const everyone = status === 'stopped' || args.bool('all') ? groupPids(found.state) : [];
    if (!isAlive(found.state) && everyone.length === 0) {
      if (args.bool('all')) return 0;
      throw new KeelsonError('conflict', 'container not running');
    }
    if (everyone.length > 0) {
      if (signal === SIGKILL) await killAll(host, found);
      else for (const pid of everyone) sendTo(pid, signal);
      return 0;
    }
    // Without a pid namespace of its own, nobody else ends what the first process leaves behind.
    const ownPids = specOf(found).linux?.namespaces?.some((n) => n.type === 'pid') ?? false;
    if (signal === SIGKILL && !ownPids) await killAll(host, found);
    else await signalProcess(host, found.state, signal);
    return 0;
  },
};

/** One that has ended meanwhile needs no signal. */
function sendTo(pid: number, signal: number): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw fromSystemError(error, `signalling process ${pid}`);
  }
}
