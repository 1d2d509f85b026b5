import { type Command, atLeast, command as define } from '../command.ts';
import { forEachName } from '../failure.ts';

export const command: Command = define({
  usage: 'CONTAINER [CONTAINER...]',
  about: 'Block until one or more containers stop, then print their exit codes',
  aliases: ['container wait', 'wait'],
  arity: atLeast(1),
  flags: {},
  run: async ({ cli, args }) => {
    const engine = await cli.engine();
    return forEachName(cli, args, async (name) => String(await engine.wait(cli.context, name, 'not-running')));
  },
});
