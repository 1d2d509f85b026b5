import { type Command, atLeast, command as define } from '../command.ts';
import { forEachName, printError } from '../failure.ts';
import { bool, refused } from '../flags.ts';
import { isKeelsonError } from '../../ground/errors.ts';

export const command: Command = define({
  usage: '[OPTIONS] CONTAINER [CONTAINER...]',
  about: 'Remove one or more containers',
  aliases: ['container rm', 'container remove', 'rm'],
  arity: atLeast(1),
  flags: {
    force: bool('Force the removal of a running container (uses SIGKILL)', { short: 'f' }),
    link: { ...refused(''), short: 'l' },
    volumes: bool('Remove anonymous volumes associated with the container', { short: 'v' }),
  },
  run: async ({ cli, flags, args }) => {
    const engine = await cli.engine();
    const { force, volumes } = flags;
    return forEachName(cli, args, async (name) => {
      try {
        await engine.remove(cli.context, name, { force, volumes });
      } catch (error) {
        // With --force it is enough that the container isn't there.
        if (!force || !isKeelsonError(error, 'not-found')) throw error;
        printError(cli, error);
        return undefined;
      }
      return name;
    });
  },
});
