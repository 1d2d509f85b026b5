import { isKeelsonError } from '../../ground/errors.ts';
import type { Removal } from '../../image/remove-image.ts';
import { type Command, atLeast, command as define } from '../command.ts';
import { printError } from '../failure.ts';
import { bool, refused } from '../flags.ts';

function line(removal: Removal): string {
  return 'untagged' in removal ? `Untagged: ${removal.untagged}` : `Deleted: ${removal.deleted}`;
}

export const command: Command = define({
  usage: '[OPTIONS] IMAGE [IMAGE...]',
  about: 'Remove one or more images',
  aliases: ['image rm', 'image remove', 'rmi'],
  arity: atLeast(1),
  flags: {
    force: bool('Force removal of the image', { short: 'f' }),
    'no-prune': bool('Do not delete untagged parents', { hidden: true }),
    platform: refused('strings'),
  },
  run: async ({ cli, flags, args }) => {
    const { images } = await cli.engine();
    const { force } = flags;
    const errors: unknown[] = [];
    // One after the other: what is left for the second name depends on the first.
    for (const name of args) {
      try {
        for (const removal of await images.remove(cli.context, name, { force })) cli.stdout.line(line(removal));
      } catch (error) {
        errors.push(error);
      }
    }
    for (const error of errors) printError(cli, error);
    // With --force it is enough that an image isn't there.
    return errors.every((error) => force && isKeelsonError(error, 'not-found')) ? 0 : 1;
  },
});
