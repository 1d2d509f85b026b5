import { type Command, command as define, exactly } from '../command.ts';
import { KeelsonError } from '../../ground/errors.ts';

export const command: Command = define({
  usage: 'CONTAINER NEW_NAME',
  about: 'Rename a container',
  aliases: ['container rename', 'rename'],
  arity: exactly(2),
  flags: {},
  run: async ({ cli, args }) => {
    const [from = '', to = ''] = args.map((name) => name.trim());
    if (from === '' || to === '') throw new KeelsonError('invalid-argument', 'neither old nor new names may be empty');
    const engine = await cli.engine();
    await engine.rename(cli.context, from, to);
    return 0;
  },
});
