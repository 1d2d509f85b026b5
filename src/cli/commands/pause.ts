import { type Command, atLeast, command as define } from '../command.ts';
import { forEachName } from '../failure.ts';

export const command: Command = define({
  usage: 'CONTAINER [CONTAINER...]',
  about: 'Pause all processes within one or more containers',
  aliases: ['container pause', 'pause'],
  arity: atLeast(1),
  flags: {},
  run: async ({ cli, args }) => {
    const engine = await cli.engine();
    return forEachName(cli, args, async (name) => {
      await engine.pause(cli.context, name);
      return name;
    });
  },
});
