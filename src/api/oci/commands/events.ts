import { setTimeout as sleep } from 'node:timers/promises';
import { KeelsonError } from '../../../ground/errors.ts';
import { cgroupDriver, readText } from '../../../kernel/cgroup.ts';
import { oomKills } from '../../../kernel/cgroup-values.ts';
import type { Cgroup } from '../../../kernel/cgroup-driver.ts';
import { isAlive } from '../../../runtime/lifecycle/container-state.ts';
import { statsDocument } from '../stats-document.ts';
import type { Command } from '../session.ts';
import { containerId } from './create.ts';

export const events: Command = {
  flags: { interval: { kind: 'text' }, stats: { kind: 'bool' } },
  async run({ call, host }, args) {
    const id = containerId(args);
    const interval = seconds(args.text('interval') ?? '5s');
    const { state } = host.store.find(id);
    if (!isAlive(state)) throw new KeelsonError('conflict', `container with id ${id} is not running`);
    const { cgroup } = state.keelson;
    if (!cgroup) throw new KeelsonError('unsupported', 'the container has no cgroup of its own');
    const driver = cgroupDriver(host.facts.cgroup);
    const print = (type: string, data?: unknown) =>
      call.stdout(`${JSON.stringify({ type, id, ...(data !== undefined && { data }) })}\n`);
    const stats = () => print('stats', statsDocument(cgroup, driver.stats(cgroup, readText), readText));
    if (args.bool('stats')) {
      stats();
      return 0;
    }
    const kills = (of: Cgroup) => driver.oomFiles(of).reduce((sum, path) => sum + oomKills(readText(path) ?? ''), 0);
    let seen = kills(cgroup);
    for (let next = Date.now(); !call.signal.aborted && isAlive(state); ) {
      if (Date.now() >= next) {
        stats();
        next += interval * 1000;
      }
      const now = kills(cgroup);
      if (now > seen) print('oom');
      seen = now;
      await sleep(100);
    }
    return 0;
  },
};

/** A duration as Go writes them: `5s`, `100ms`. */
function seconds(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text);
  const value = Number(match?.[1]) * ({ ms: 0.001, s: 1, m: 60, h: 3600 }[match?.[2] as 's'] ?? Number.NaN);
  if (!(value > 0)) throw new KeelsonError('invalid-argument', 'duration interval must be greater than 0');
  return value;
}
