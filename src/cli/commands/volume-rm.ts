import { type Command, atLeast, command as define } from '../command.ts';
import { forEachName } from '../failure.ts';
import { bool } from '../flags.ts';

export const command: Command = define({
  usage: '[OPTIONS] VOLUME [VOLUME...]',
  about: 'Remove one or more volumes. You cannot remove a volume that is in use by a container.',
  aliases: ['volume rm', 'volume remove'],
  arity: atLeast(1),
  flags: { force: bool('Force the removal of one or more volumes', { short: 'f' }) },
  run: async ({ cli, flags, args }) => {
    const { volumes } = await cli.engine();
    return forEachName(cli, args, async (name) => {
      await volumes.remove(cli.context, name, { force: flags.force });
      return name;
    });
  },
});
