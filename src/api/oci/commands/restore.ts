import { loadBundle } from '../../../runtime/lifecycle/load-bundle.ts';
import { deleteContainer } from '../../../runtime/lifecycle/delete.ts';
import { restoreContainer } from '../../../runtime/lifecycle/restore.ts';
import type { Command } from '../session.ts';
import { criuFlags, criuOptions, warnUser } from './checkpoint.ts';
import { checkConsole, containerId } from './create.ts';
import { exitCode } from './run.ts';

export const restore: Command = {
  flags: {
    ...criuFlags,
    bundle: { kind: 'text', short: ['b'] },
    'console-socket': { kind: 'text' },
    detach: { kind: 'bool', short: ['d'] },
    'pid-file': { kind: 'text' },
    'no-subreaper': { kind: 'bool' },
    'no-pivot': { kind: 'bool' },
  },
  async run(session, args) {
    const { host, call, path } = session;
    warnUser(session);
    const bundle = loadBundle(path(args.text('bundle') || '.'), { ...host, start: true });
    const detach = args.bool('detach');
    const consoleSocket = args.text('console-socket') || undefined;
    const pidFile = args.text('pid-file') || undefined;
    checkConsole(bundle.process.terminal === true, consoleSocket, detach);
    const container = await restoreContainer(host, {
      ...criuOptions(session, args),
      id: containerId(args),
      bundle,
      ...(consoleSocket !== undefined && { consoleSocket: path(consoleSocket) }),
      ...(pidFile !== undefined && { pidFile: path(pidFile) }),
    });
    if (detach) return 0;
    const { status } = await call.supervise(container);
    await deleteContainer(host, container, { force: true });
    return exitCode(status);
  },
};
