import { KeelsonError } from '../../ground/errors.ts';
import { parsePlatform } from '../../image/platform.ts';
import { familiarReference, formatReference, parseReference } from '../../image/reference.ts';
import { type Command, command as define, exactly } from '../command.ts';
import { bool, refused, string } from '../flags.ts';
import { ProgressLines } from '../output/progress.ts';

export const command: Command = define({
  usage: '[OPTIONS] NAME[:TAG|@DIGEST]',
  about: 'Download an image from a registry',
  aliases: ['image pull', 'pull'],
  arity: exactly(1),
  flags: {
    'all-tags': { ...refused(''), short: 'a' },
    'disable-content-trust': bool('Skip image verification', { initial: true, hidden: true }),
    platform: string('Set platform if the image has several'),
    quiet: bool('Suppress verbose output', { short: 'q' }),
  },
  run: async ({ cli, flags, args }) => {
    const [name = ''] = args;
    if (name === 'host')
      throw new KeelsonError(
        'invalid-argument',
        "'host' is this machine's own root file system: there is nothing to pull",
      );
    const bare = parseReference(name, { bare: true });
    const reference = parseReference(name);
    const platform = flags.platform === '' ? undefined : parsePlatform(flags.platform);
    const lines = new ProgressLines(cli.stdout);
    if (!flags.quiet) {
      if (bare.tag === undefined && bare.digest === undefined) cli.stdout.line('Using default tag: latest');
      cli.onProgress = lines.onProgress;
    }
    const { images } = await cli.engine();
    try {
      await images.pull(cli.context, familiarReference(reference), platform ? { platform } : {});
    } finally {
      lines.flush();
    }
    cli.stdout.line(formatReference(reference));
    return 0;
  },
});
