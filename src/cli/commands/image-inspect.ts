import { imageInspect } from '../../api/docker/image-inspect.ts';
import { type Command, atLeast, command as define } from '../command.ts';
import { refused, string } from '../flags.ts';
import { inspectAll } from '../output/inspect-view.ts';
import { documentFormatHelp } from '../output/list-view.ts';

export const command: Command = define({
  usage: '[OPTIONS] IMAGE [IMAGE...]',
  about: 'Display detailed information on one or more images',
  arity: atLeast(1),
  flags: {
    format: string(documentFormatHelp, { short: 'f' }),
    platform: refused('string'),
  },
  run: async ({ cli, flags, args }) => {
    const { images } = await cli.engine();
    return inspectAll(cli, args, flags.format, async (name) => imageInspect(await images.inspect(name)));
  },
});
