import { type Command, atMost, command as define } from '../command.ts';
import { registryOf } from '../options/registry.ts';

export const command: Command = define({
  usage: '[SERVER]',
  about: 'Log out from a registry.\nDefaults to Docker Hub if no server is specified.',
  arity: atMost(1),
  flags: {},
  run: async ({ cli, args }) => {
    const server = registryOf(args[0]);
    const { images } = await cli.engine();
    const known = await images.registries.logout(cli.context, server);
    cli.stdout.line(known ? `Removing login credentials for ${server}` : `Not logged in to ${server}`);
    return 0;
  },
});
