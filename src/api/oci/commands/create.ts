import { createContainer, type CreateOptions } from '../../../runtime/lifecycle/create.ts';
import { loadBundle } from '../../../runtime/lifecycle/load-bundle.ts';
import { KeelsonError } from '../../../ground/errors.ts';
import type { Flags, Parsed } from '../flags.ts';
import type { Command, Session } from '../session.ts';

export const createFlags: Flags = {
  bundle: { kind: 'text', short: ['b'] },
  'console-socket': { kind: 'text' },
  'pidfd-socket': { kind: 'text' },
  'pid-file': { kind: 'text' },
  'no-pivot': { kind: 'bool' },
  'no-new-keyring': { kind: 'bool' },
  'preserve-fds': { kind: 'text' },
  config: { kind: 'text', short: ['f'] },
};

export const create: Command = {
  flags: createFlags,
  async run(session, args) {
    const options = creation(session, args, { start: false });
    checkConsole(options.bundle.process.terminal === true, options.consoleSocket, true);
    await createContainer(session.host, { ...options, go: false });
    return 0;
  },
};

/** The one name that a command is about. */
export function containerId(args: Parsed): string {
  const [id] = args.words;
  if (args.words.length !== 1 || id === undefined) {
    throw new KeelsonError('invalid-argument', `exactly 1 argument is needed: the container's ID`);
  }
  return id;
}

export function checkConsole(terminal: boolean, consoleSocket: string | undefined, detach: boolean): void {
  if (terminal && detach && consoleSocket === undefined)
    throw new KeelsonError(
      'invalid-argument',
      'cannot allocate tty if runc will detach without setting console socket',
    );
  if ((!terminal || !detach) && consoleSocket !== undefined)
    throw new KeelsonError('invalid-argument', 'cannot use console socket if runc will not detach or allocate tty');
}

export function creation(session: Session, args: Parsed, { start }: { start: boolean }): Omit<CreateOptions, 'go'> {
  const { path } = session;
  const pidFile = args.text('pid-file');
  const consoleSocket = args.text('console-socket');
  const pidfdSocket = args.text('pidfd-socket');
  return {
    id: containerId(args),
    bundle: loadBundle(path(args.text('bundle') || '.'), {
      ...session.host,
      config: args.text('config') || undefined,
      start,
    }),
    ...(consoleSocket !== undefined && { consoleSocket: path(consoleSocket) }),
    ...(pidfdSocket && { pidfdSocket: path(pidfdSocket) }),
    ...(session.caller.env['NOTIFY_SOCKET'] && { notify: true }),
    ...(pidFile !== undefined && pidFile !== '' && { pidFile: path(pidFile) }),
    preserveFds: args.number('preserve-fds') ?? 0,
    noPivot: args.bool('no-pivot'),
    noNewKeyring: args.bool('no-new-keyring'),
    environment: session.caller.env,
  };
}
