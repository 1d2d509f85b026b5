import { KeelsonError } from '../../ground/errors.ts';
import { type Command, atMost, command as define } from '../command.ts';
import { list, refused, string } from '../flags.ts';
import { checkLabel, keyValues } from '../options/key-values.ts';

export const command: Command = define({
  usage: '[OPTIONS] [VOLUME]',
  about: 'Create a volume',
  arity: atMost(1),
  flags: {
    availability: refused('string'),
    driver: string('Specify volume driver name', { short: 'd', initial: 'local' }),
    group: refused('string'),
    label: list('Set metadata for a volume', { check: checkLabel }),
    'limit-bytes': refused('bytes'),
    name: string('', { hidden: true }),
    opt: list('Set driver specific options', { short: 'o', type: 'map' }),
    'required-bytes': refused('bytes'),
    scope: refused('string'),
    secret: refused('map'),
    sharing: refused('string'),
    'topology-preferred': refused('list'),
    'topology-required': refused('list'),
    type: refused('string'),
  },
  run: async ({ cli, flags, args }) => {
    const [name = flags.name] = args;
    if (flags.name !== '' && args.length > 0)
      throw new KeelsonError(
        'invalid-argument',
        'conflicting options: cannot specify a volume name through both --name and as a positional arg',
      );
    if (flags.driver !== 'local')
      throw new KeelsonError(
        'unsupported',
        `the volume driver ${JSON.stringify(flags.driver)} is not supported by keelson: only "local" is`,
      );
    const { volumes } = await cli.engine();
    const volume = await volumes.create(cli.context, {
      ...(name !== '' && { name }),
      labels: keyValues(flags.label),
      options: keyValues(flags.opt),
    });
    cli.stdout.line(volume.name);
    return 0;
  },
});
