import { KeelsonError } from '../../ground/errors.ts';
import { type Command, atLeast, command as define } from '../command.ts';
import { forEachName } from '../failure.ts';
import { bool, refused, string } from '../flags.ts';
import { runSession } from '../session/session.ts';
import { forwardSignals } from '../session/signals.ts';
import { checkTerminal } from '../session/terminal.ts';

export const command: Command = define({
  usage: '[OPTIONS] CONTAINER [CONTAINER...]',
  about: 'Start one or more stopped containers',
  aliases: ['container start', 'start'],
  arity: atLeast(1),
  flags: {
    attach: bool('Attach STDOUT/STDERR and forward signals', { short: 'a' }),
    checkpoint: refused('string'),
    'checkpoint-dir': refused('string'),
    'detach-keys': string('Override the key sequence for detaching a container'),
    interactive: bool("Attach container's STDIN", { short: 'i' }),
    'sig-proxy': bool('', { initial: true, hidden: true }),
  },
  run: async ({ cli, flags, args }) => {
    const { attach, interactive } = flags;
    if (!attach && !interactive) {
      const engine = await cli.engine();
      return forEachName(cli, args, async (name) => {
        await engine.start(cli.context, name);
        return name;
      });
    }
    const [name = ''] = args;
    if (args.length > 1)
      throw new KeelsonError('invalid-argument', 'you cannot start and attach multiple containers at once');
    const engine = await cli.engine();
    const { id, config, state } = await engine.inspect(cli.context, name);
    const stdin = interactive && config.openStdin === true;
    const tty = config.tty === true;
    checkTerminal(cli, { stdin, tty });
    const streams = { stdin, stdout: true, stderr: true };
    const running = state.state === 'running';
    const attachment = running
      ? await engine.attach(cli.context, id, streams)
      : await engine.start(cli.context, id, { attach: streams });
    if (attachment === undefined) throw new KeelsonError('internal', `starting ${name} gave no streams`);
    await using _ = attachment;
    const end = await runSession(cli, attachment, {
      stdin,
      tty,
      detachKeys: flags['detach-keys'],
      ...(flags['sig-proxy'] && !tty && { onSignal: forwardSignals(cli, engine, id) }),
    });
    return end === 'detached' ? 0 : end.exitCode;
  },
});
