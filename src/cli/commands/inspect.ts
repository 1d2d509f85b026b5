import { containerInspect } from '../../api/docker/container-inspect.ts';
import { imageInspect } from '../../api/docker/image-inspect.ts';
import { volumeDocument } from '../../api/docker/volume.ts';
import { KeelsonError, isKeelsonError } from '../../ground/errors.ts';
import { type Command, atLeast, command as define } from '../command.ts';
import { bool, string } from '../flags.ts';
import { inspectAll } from '../output/inspect-view.ts';
import { documentFormatHelp } from '../output/list-view.ts';

const types = ['container', 'image', 'volume'] as const;

export const command: Command = define({
  usage: '[OPTIONS] NAME|ID [NAME|ID...]',
  about: 'Return low-level information on containers, images and volumes',
  arity: atLeast(1),
  flags: {
    format: string(documentFormatHelp, { short: 'f' }),
    size: bool('Display total file sizes if the type is container', { short: 's' }),
    type: string('Only inspect objects of the given type'),
  },
  run: async ({ cli, flags, given, args }) => {
    const wanted = types.filter((type) => flags.type === '' || flags.type === type);
    if (wanted.length === 0)
      throw new KeelsonError(
        'invalid-argument',
        `unknown type: ${JSON.stringify(flags.type)}: must be one of ${types.map((type) => JSON.stringify(type)).join(', ')}`,
      );
    if (given.has('type') && flags.type === '')
      throw new KeelsonError('invalid-argument', 'type is empty: must be one of "container", "image", "volume"');
    const engine = await cli.engine();
    const { size } = flags;
    const find = {
      container: async (name: string) => containerInspect(await engine.inspect(cli.context, name, { size })),
      image: async (name: string) => imageInspect(await engine.images.inspect(name)),
      volume: async (name: string) => volumeDocument(await engine.volumes.inspect(cli.context, name)),
    };
    return inspectAll(cli, args, flags.format, async (name) => {
      for (const type of wanted) {
        try {
          return await find[type](name);
        } catch (error) {
          // A name that can't be one of this type's may be one of the next.
          const elsewhere = isKeelsonError(error, 'not-found') || isKeelsonError(error, 'invalid-argument');
          if (!elsewhere || wanted.length === 1) throw error;
        }
      }
      throw new KeelsonError('not-found', `no such object: ${name}`);
    });
  },
});
