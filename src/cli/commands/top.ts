import { type Command, atLeast, command as define } from '../command.ts';
import { alignTable } from '../output/table.ts';

export const command: Command = define({
  usage: 'CONTAINER [ps OPTIONS]',
  about: 'Display the running processes of a container',
  aliases: ['container top', 'top'],
  arity: atLeast(1),
  interspersed: false,
  flags: {},
  run: async ({ cli, args }) => {
    const [name = '', ...psArgs] = args;
    const engine = await cli.engine();
    const { titles, processes } = await engine.top(cli.context, name, psArgs.length === 0 ? undefined : psArgs);
    const lines = [titles, ...processes].map((cells) => `${cells.join('\t')}\n`);
    cli.stdout.write(alignTable(lines.join(''), { minWidth: 20, padding: 3 }));
    return 0;
  },
});
