import { CidFile } from '../cid-file.ts';
import { type Command, atLeast, command as define } from '../command.ts';
import { createContainer } from '../create-container.ts';
import { containerConfig } from '../options/container-config.ts';
import { containerFlags, refusedContainerFlags } from '../options/run-flags.ts';

export const command: Command = define({
  usage: '[OPTIONS] IMAGE [COMMAND] [ARG...]',
  about: 'Create a new container',
  aliases: ['container create', 'create'],
  arity: atLeast(1),
  interspersed: false,
  flags: { ...containerFlags, ...refusedContainerFlags },
  run: async ({ cli, flags, given, args }) => {
    const config = containerConfig(flags, args, given, { detach: false });
    using cidFile = new CidFile(flags.cidfile);
    const engine = await cli.engine();
    const id = await createContainer(cli, engine, config, { quiet: flags.quiet });
    cidFile.write(id);
    cli.stdout.line(id);
    return 0;
  },
});
