import { containerInspect } from '../../api/docker/container-inspect.ts';
import { type Command, atLeast, command as define } from '../command.ts';
import { bool, string } from '../flags.ts';
import { inspectAll } from '../output/inspect-view.ts';
import { documentFormatHelp } from '../output/list-view.ts';

export const command: Command = define({
  usage: '[OPTIONS] CONTAINER [CONTAINER...]',
  about: 'Display detailed information on one or more containers',
  arity: atLeast(1),
  flags: {
    format: string(documentFormatHelp, { short: 'f' }),
    size: bool('Display total file sizes', { short: 's' }),
  },
  run: async ({ cli, flags, args }) => {
    const engine = await cli.engine();
    const { size } = flags;
    return inspectAll(cli, args, flags.format, async (name) =>
      containerInspect(await engine.inspect(cli.context, name, { size })),
    );
  },
});
