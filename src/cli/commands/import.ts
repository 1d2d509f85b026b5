import { parsePlatform } from '../../image/platform.ts';
import { parseReference } from '../../image/reference.ts';
import { type Command, between, command as define } from '../command.ts';
import { list, string } from '../flags.ts';
import { readSource } from '../input.ts';

export const command: Command = define({
  usage: '[OPTIONS] file|URL|- [REPOSITORY[:TAG]]',
  about: 'Import the contents from a tarball to create a filesystem image',
  aliases: ['image import', 'import'],
  arity: between(1, 2),
  flags: {
    change: list('Apply Dockerfile instruction to the created image', { short: 'c' }),
    message: string('Set commit message for imported image', { short: 'm' }),
    platform: string('Set platform of the image'),
  },
  run: async ({ cli, flags, args }) => {
    const [from = '', name] = args;
    const reference = name === undefined ? undefined : parseReference(name);
    const platform = flags.platform === '' ? undefined : parsePlatform(flags.platform);
    const source = await readSource(from, cli.context.signal);
    const { images } = await cli.engine();
    const id = await images.import(cli.context, source, {
      from,
      changes: flags.change,
      ...(reference && { reference }),
      ...(platform && { platform }),
      ...(flags.message !== '' && { message: flags.message }),
    });
    cli.stdout.line(id);
    return 0;
  },
});
