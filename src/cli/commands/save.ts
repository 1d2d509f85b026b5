import { type Command, atLeast, command as define } from '../command.ts';
import { refused, string } from '../flags.ts';
import { writeArchive } from '../output/archive-file.ts';

export const command: Command = define({
  usage: '[OPTIONS] IMAGE [IMAGE...]',
  about: 'Save one or more images to a tar archive (streamed to STDOUT by default)',
  aliases: ['image save', 'save'],
  arity: atLeast(1),
  flags: {
    output: string('Write to a file, instead of STDOUT', { short: 'o' }),
    platform: refused('string'),
  },
  run: async ({ cli, flags, args }) => {
    const { images } = await cli.engine();
    images.toSave(args);
    await writeArchive(cli, flags.output, () => images.save(cli.context, args));
    return 0;
  },
});
