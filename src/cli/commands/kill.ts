import { type Command, atLeast, command as define } from '../command.ts';
import { forEachName } from '../failure.ts';
import { string } from '../flags.ts';

export const command: Command = define({
  usage: '[OPTIONS] CONTAINER [CONTAINER...]',
  about: 'Kill one or more running containers',
  aliases: ['container kill', 'kill'],
  arity: atLeast(1),
  flags: { signal: string('Signal to send to the container', { short: 's' }) },
  run: async ({ cli, flags, args }) => {
    const engine = await cli.engine();
    return forEachName(cli, args, async (name) => {
      await engine.kill(cli.context, name, flags.signal === '' ? undefined : flags.signal);
      return name;
    });
  },
});
