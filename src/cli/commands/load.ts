import { KeelsonError } from '../../ground/errors.ts';
import { parsePlatform } from '../../image/platform.ts';
import { familiarReference } from '../../image/reference.ts';
import { type Command, command as define, noArgs } from '../command.ts';
import { bool, string } from '../flags.ts';
import { readSource } from '../input.ts';
import { ProgressLines } from '../output/progress.ts';
import { inputIsTerminal } from '../session/terminal.ts';

export const command: Command = define({
  usage: '[OPTIONS]',
  about: 'Load an image from a tar archive or STDIN',
  aliases: ['image load', 'load'],
  arity: noArgs,
  flags: {
    input: string('Read from tar archive file, instead of STDIN', { short: 'i' }),
    platform: string('Load only the given platform variant. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")'),
    quiet: bool('Suppress the load output', { short: 'q' }),
  },
  run: async ({ cli, flags }) => {
    if (flags.input === '' && inputIsTerminal())
      throw new KeelsonError('invalid-argument', 'requested load from stdin, but stdin is empty');
    const source = await readSource(flags.input === '' ? '-' : flags.input);
    const lines = new ProgressLines(cli.stdout);
    if (!flags.quiet && cli.stdout.isTerminal) cli.onProgress = lines.onProgress;
    const { images } = await cli.engine();
    const platform = flags.platform === '' ? undefined : parsePlatform(flags.platform);
    const loaded = await images.load(cli.context, source, platform ? { platform } : {});
    lines.flush();
    for (const { id, names } of loaded) {
      if (names.length === 0) cli.stdout.line(`Loaded image ID: ${id}`);
      for (const name of names) cli.stdout.line(`Loaded image: ${familiarReference(name)}`);
    }
    return 0;
  },
});
