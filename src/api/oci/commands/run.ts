import { createContainer } from '../../../runtime/lifecycle/create.ts';
import { deleteContainer } from '../../../runtime/lifecycle/delete.ts';
import { farewellPlan } from '../../../runtime/lifecycle/discard.ts';
import { relayNotify } from '../../../runtime/lifecycle/notify-socket.ts';
import { hooksAfterStart } from '../../../runtime/lifecycle/start.ts';
import type { Command } from '../session.ts';
import { checkConsole, createFlags, creation } from './create.ts';

export const run: Command = {
  flags: {
    ...createFlags,
    detach: { kind: 'bool', short: ['d'] },
    keep: { kind: 'bool' },
    'no-subreaper': { kind: 'bool' },
  },
  async run(session, args) {
    const { host, call } = session;
    const options = creation(session, args, { start: true });
    const detach = args.bool('detach');
    const { spec, process } = options.bundle;
    checkConsole(process.terminal === true, options.consoleSocket, detach);
    // Nobody would pass on what its terminal says while the process is waited for.
    const manager = detach || !process.terminal ? host.environment['NOTIFY_SOCKET'] : undefined;
    const container = await createContainer(host, {
      ...options,
      notify: manager !== undefined && manager !== '',
      go: true,
    });
    try {
      await hooksAfterStart(host, container, spec);
      const { notified, pid } = container;
      if (manager && notified !== undefined)
        await relayNotify(host, { socket: notified, manager, pid, mainPid: detach ? pid : host.caller });
    } catch (error) {
      await deleteContainer(host, container, { force: true });
      throw error;
    }
    if (detach) return 0;
    const ownPids = spec.linux?.namespaces?.some((n) => n.type === 'pid' && n.path === undefined) ?? false;
    const keep = args.bool('keep');
    // Nothing outlives the first process of a pid namespace, so the caller itself can clear up.
    const simple =
      ownPids &&
      !keep &&
      !container.state.keelson.unit &&
      !spec.hooks?.poststop?.length &&
      container.notified === undefined;
    const { status, failed } = await call.supervise(
      container,
      simple ? { farewell: farewellPlan(container, host.facts), leave: true } : {},
    );
    if (!keep && (!simple || failed)) await deleteContainer(host, container, { force: true });
    return exitCode(status);
  },
};

/** Of a wait status: 128 and the signal's number for a process that a signal ended. */
export function exitCode(status: number): number {
  return (status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f);
}
