/** Sending a signal to a process of which number and start are known, and to no other. */
import { KeelsonError } from '../../ground/errors.ts';
import { PlanBuilder } from '../../kernel/plan-builder.ts';
import { isAlive, type ContainerState } from './container-state.ts';
import type { Host } from './host.ts';

/**
 * The pidfd is opened first and then looked whether the process is the one that was meant: from there on the number can't come to mean another.
 */
export async function signalProcess(host: Host, state: ContainerState, signal: number): Promise<void> {
  const { arch } = host.facts;
  const b = new PlanBuilder(arch);
  b.doing(`signalling process ${state.init_process_pid}`);
  const pidfd = b.sys('pidfd_open', [state.init_process_pid, 0]);
  b.sync(1, [], []);
  await host.runner.run(b.build(), {
    onSync() {
      if (!isAlive(state)) throw new KeelsonError('conflict', 'container not running');
      const chunk = new PlanBuilder(arch, b);
      chunk.sys('pidfd_send_signal', [pidfd, signal, 0, 0], { doing: `signalling process ${state.init_process_pid}` });
      return chunk.build();
    },
  });
}
