import { KeelsonError, messageOf } from '../../ground/errors.ts';
import { parseReference } from '../../image/reference.ts';
import { type Command, command as define, exactly } from '../command.ts';

export const command: Command = define({
  usage: 'SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]',
  about: 'Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE',
  aliases: ['image tag', 'tag'],
  arity: exactly(2),
  flags: {},
  run: async ({ cli, args }) => {
    const [source = '', target = ''] = args;
    try {
      parseReference(target);
    } catch (error) {
      throw new KeelsonError(
        'invalid-argument',
        `error parsing reference: ${JSON.stringify(target)} is not a valid repository/tag: ${messageOf(error)}`,
        { cause: error },
      );
    }
    const { images } = await cli.engine();
    images.tag(source, target);
    return 0;
  },
});
