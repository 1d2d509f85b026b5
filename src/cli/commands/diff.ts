import { type Command, command as define, exactly } from '../command.ts';

const letters = { modified: 'C', added: 'A', deleted: 'D' } as const;

export const command: Command = define({
  usage: 'CONTAINER',
  about: "Inspect changes to files or directories on a container's filesystem",
  aliases: ['container diff', 'diff'],
  arity: exactly(1),
  flags: {},
  run: async ({ cli, args }) => {
    const engine = await cli.engine();
    const changes = await engine.diff(cli.context, args[0] as string);
    cli.stdout.write(changes.map(({ path, kind }) => `${letters[kind]} ${path}\n`).join(''));
    return 0;
  },
});
