import type { Attachment } from '../../engine/types.ts';
import type { Cli } from '../cli.ts';
import { DetachFilter, parseDetachKeys } from './detach-keys.ts';
import { rawMode, inputIsTerminal, terminalSize } from './terminal.ts';

export interface SessionOptions {
  /** Send standard input along. */
  readonly stdin: boolean;
  /** The process has a terminal. */
  readonly tty: boolean;
  /** Docker's notation; '' for ctrl-p ctrl-q. */
  readonly detachKeys: string;
  /** Where this process's signals go; absent when they end it as usual. */
  readonly onSignal?: (signal: NodeJS.Signals) => void;
}

/** How a session ended: with the process's exit code, or because the user detached. */
export type SessionEnd = { readonly exitCode: number } | 'detached';

/** Signals that are forwarded: what a program may get from a user or a supervisor. */
const forwarded: readonly NodeJS.Signals[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGALRM',
  'SIGVTALRM',
  'SIGTSTP',
  'SIGCONT',
  'SIGXCPU',
  'SIGXFSZ',
  'SIGIO',
  'SIGPWR',
];

/** Connects this terminal (or these pipes) with a process in a container until it ends or the user detaches. */
export async function runSession(cli: Cli, attachment: Attachment, options: SessionOptions): Promise<SessionEnd> {
  using cleanup = new DisposableStack();
  // From here on the container is what matters: a signal that isn't forwarded ends this process as it would any, and nothing else.
  cli.releaseSignals();
  if (options.onSignal) {
    const { onSignal } = options;
    for (const signal of forwarded) {
      process.on(signal, onSignal);
      cleanup.defer(() => process.off(signal, onSignal));
    }
  }
  if (options.tty) {
    const resize = (): void => {
      const size = terminalSize();
      if (size) attachment.resize(size.columns, size.rows);
    };
    resize();
    process.on('SIGWINCH', resize);
    cleanup.defer(() => process.off('SIGWINCH', resize));
  }
  const detached = options.stdin ? sendInput(attachment, options, cleanup) : new Promise<never>(() => {});
  const ended = (async (): Promise<SessionEnd> => {
    for await (const { stream, data } of attachment.output)
      await (stream === 'stdout' ? cli.stdout : cli.stderr).send(data);
    return { exitCode: await attachment.exit };
  })();
  // Awaited here, so that the terminal is put back only then.
  return await Promise.race([ended, detached]);
}

/** Sends standard input to the container. Resolves when the detach keys were typed, rejects when it can't be read. */
function sendInput(attachment: Attachment, options: SessionOptions, cleanup: DisposableStack): Promise<'detached'> {
  // The process's stdin, not a stream of our own on descriptor 0: it reads pipes and terminals without blocking a thread.
  const input = process.stdin;
  const filter = options.tty ? new DetachFilter(parseDetachKeys(options.detachKeys || 'ctrl-p,ctrl-q')) : undefined;
  if (options.tty && inputIsTerminal()) {
    const raw = rawMode(input);
    cleanup.defer(() => raw.restore());
  }
  cleanup.defer(() => {
    input.removeAllListeners('data');
    input.pause();
    input.unref();
  });
  return new Promise((resolve, reject) => {
    let last = Promise.resolve();
    input.on('data', (chunk: Buffer) => {
      const { data, detached } = filter ? filter.feed(chunk) : { data: chunk, detached: false };
      if (data.length > 0) {
        input.pause();
        last = attachment.write(data).then(
          () => void input.resume(),
          // Nobody reads any more: the process closed its input or is about to end. Its output and exit code say the rest.
          () => void input.pause(),
        );
      }
      if (detached) void last.then(() => resolve('detached'));
    });
    input.once('end', () => void last.then(() => attachment.closeStdin()));
    input.once('error', reject);
  });
}
