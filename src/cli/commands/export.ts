import { type Command, command as define, exactly } from '../command.ts';
import { string } from '../flags.ts';
import { writeArchive } from '../output/archive-file.ts';

export const command: Command = define({
  usage: '[OPTIONS] CONTAINER',
  about: "Export a container's filesystem as a tar archive",
  aliases: ['container export', 'export'],
  arity: exactly(1),
  flags: { output: string('Write to a file, instead of STDOUT', { short: 'o' }) },
  run: async ({ cli, flags, args }) => {
    const engine = await cli.engine();
    await writeArchive(cli, flags.output, () => engine.export(cli.context, args[0] as string));
    return 0;
  },
});
