import { volumeDocument } from '../../api/docker/volume.ts';
import { type Command, atLeast, command as define } from '../command.ts';
import { string } from '../flags.ts';
import { inspectAll } from '../output/inspect-view.ts';
import { documentFormatHelp } from '../output/list-view.ts';

export const command: Command = define({
  usage: '[OPTIONS] VOLUME [VOLUME...]',
  about: 'Display detailed information on one or more volumes',
  arity: atLeast(1),
  flags: { format: string(documentFormatHelp, { short: 'f' }) },
  run: async ({ cli, flags, args }) => {
    const { volumes } = await cli.engine();
    return inspectAll(cli, args, flags.format, async (name) =>
      volumeDocument(await volumes.inspect(cli.context, name)),
    );
  },
});
