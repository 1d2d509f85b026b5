import { familiarReference, formatReference, parseReference } from '../../image/reference.ts';
import { type Command, command as define, exactly } from '../command.ts';
import { bool, refused } from '../flags.ts';
import { ProgressLines } from '../output/progress.ts';

export const command: Command = define({
  usage: '[OPTIONS] NAME[:TAG]',
  about: 'Upload an image to a registry',
  aliases: ['image push', 'push'],
  arity: exactly(1),
  flags: {
    'all-tags': { ...refused(''), short: 'a' },
    'disable-content-trust': bool('Skip image signing', { initial: true, hidden: true }),
    platform: refused('string'),
    quiet: bool('Suppress verbose output', { short: 'q' }),
  },
  run: async ({ cli, flags, args }) => {
    const [name = ''] = args;
    const bare = parseReference(name, { bare: true });
    const reference = parseReference(name);
    const lines = new ProgressLines(cli.stdout);
    if (!flags.quiet) {
      if (bare.tag === undefined && bare.digest === undefined) cli.stdout.line('Using default tag: latest');
      cli.onProgress = lines.onProgress;
    }
    const { images } = await cli.engine();
    try {
      await images.push(cli.context, familiarReference(reference));
    } finally {
      lines.flush();
    }
    if (flags.quiet) cli.stdout.line(formatReference(reference));
    return 0;
  },
});
