import { KeelsonError } from '../../ground/errors.ts';
import { type Command, command as define, exactly } from '../command.ts';
import { bool, string } from '../flags.ts';
import { runSession } from '../session/session.ts';
import { forwardSignals } from '../session/signals.ts';
import { checkTerminal } from '../session/terminal.ts';

export const command: Command = define({
  usage: '[OPTIONS] CONTAINER',
  about: 'Attach local standard input, output, and error streams to a running container',
  aliases: ['container attach', 'attach'],
  arity: exactly(1),
  flags: {
    'detach-keys': string('Override the key sequence for detaching a container'),
    'no-stdin': bool('Do not attach STDIN'),
    'sig-proxy': bool('Proxy all received signals to the process', { initial: true }),
  },
  run: async ({ cli, flags, args }) => {
    const engine = await cli.engine();
    const { id, config, state } = await engine.inspect(cli.context, args[0] as string);
    if (state.state === 'paused')
      throw new KeelsonError('conflict', 'you cannot attach to a paused container, unpause it first');
    if (state.state === 'restarting')
      throw new KeelsonError('conflict', 'you cannot attach to a restarting container, wait until it is running');
    if (state.state !== 'running')
      throw new KeelsonError('conflict', 'you cannot attach to a stopped container, start it first');
    const stdin = !flags['no-stdin'] && config.openStdin === true;
    const tty = config.tty === true;
    checkTerminal(cli, { stdin, tty });
    const attachment = await engine.attach(cli.context, id, { stdin, stdout: true, stderr: true });
    await using _ = attachment;
    const end = await runSession(cli, attachment, {
      stdin,
      tty,
      detachKeys: flags['detach-keys'],
      ...(flags['sig-proxy'] && !tty && { onSignal: forwardSignals(cli, engine, id) }),
    });
    if (end !== 'detached') return end.exitCode;
    cli.stderr.line('read escape sequence');
    return 1;
  },
});
