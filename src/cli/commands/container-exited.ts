import { type Command, command as define, exactly } from '../command.ts';

/** What a container's keeper calls when the container has ended; not for people. */
export const command: Command = define({
  usage: 'CONTAINER',
  about: 'Record the end of a container',
  arity: exactly(1),
  flags: {},
  run: async ({ cli, args }) => {
    const engine = await cli.engine();
    await engine.exited(cli.context, args[0] as string);
    return 0;
  },
});
