import { type Command, atLeast, command as define } from '../command.ts';
import { forEachName } from '../failure.ts';

export const command: Command = define({
  usage: 'CONTAINER [CONTAINER...]',
  about: 'Unpause all processes within one or more containers',
  aliases: ['container unpause', 'unpause'],
  arity: atLeast(1),
  flags: {},
  run: async ({ cli, args }) => {
    const engine = await cli.engine();
    return forEachName(cli, args, async (name) => {
      await engine.unpause(cli.context, name);
      return name;
    });
  },
});
