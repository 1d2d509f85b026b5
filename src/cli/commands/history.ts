import { type Command, command as define, exactly } from '../command.ts';
import { bool, refused, string } from '../flags.ts';
import { historyHeaders, historyTable, historyView } from '../output/history-view.ts';
import { formatHelp, renderList } from '../output/list-view.ts';

export const command: Command = define({
  usage: '[OPTIONS] IMAGE',
  about: 'Show the history of an image',
  aliases: ['image history', 'history'],
  arity: exactly(1),
  flags: {
    format: string(formatHelp),
    human: bool('Print sizes and dates in human readable format', { short: 'H', initial: true }),
    'no-trunc': bool("Don't truncate output"),
    platform: refused('string'),
    quiet: bool('Only show image IDs', { short: 'q' }),
  },
  run: async ({ cli, flags, args }) => {
    const { human } = flags;
    const { images } = await cli.engine();
    const history = await images.history(args[0] as string);
    const rows = history.map((line) => historyView(line, { truncate: !flags['no-trunc'], human }));
    const format = flags.quiet ? '{{.ID}}' : flags.format;
    cli.stdout.write(
      renderList(rows, {
        format,
        table: historyTable(human),
        headers: { ...historyHeaders, CreatedSince: human ? 'CREATED' : 'CREATED AT' },
      }),
    );
    return 0;
  },
});
