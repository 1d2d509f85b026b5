import { type Command, atLeast, command as define } from '../command.ts';
import { forEachName } from '../failure.ts';
import { int, string } from '../flags.ts';
import { defined } from '../options/container-config.ts';

export const command: Command = define({
  usage: '[OPTIONS] CONTAINER [CONTAINER...]',
  about: 'Restart one or more containers',
  aliases: ['container restart', 'restart'],
  arity: atLeast(1),
  flags: {
    signal: string('Signal to send to the container', { short: 's' }),
    timeout: int('Seconds to wait before killing the container', { short: 't' }),
    time: int('', { hidden: true }),
  },
  run: async ({ cli, flags, args }) => {
    const engine = await cli.engine();
    const options = defined<{ timeout?: number; signal?: string }>({
      timeout: flags.timeout ?? flags.time,
      signal: flags.signal === '' ? undefined : flags.signal,
    });
    return forEachName(cli, args, async (name) => {
      await engine.restart(cli.context, name, options);
      return name;
    });
  },
});
