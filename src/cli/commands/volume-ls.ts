import { type Command, command as define, noArgs } from '../command.ts';
import { bool, list, refused, string } from '../flags.ts';
import { checkFilter, splitFilters } from '../options/filters.ts';
import { formatHelp, renderList } from '../output/list-view.ts';
import { volumeHeaders, volumeTable, volumeView } from '../output/volume-view.ts';

export const command: Command = define({
  usage: '[OPTIONS]',
  about: 'List volumes',
  aliases: ['volume ls', 'volume list'],
  arity: noArgs,
  flags: {
    cluster: refused(''),
    filter: list('Provide filter values (e.g. "dangling=true")', { short: 'f', type: 'filter', check: checkFilter }),
    format: string(formatHelp),
    quiet: bool('Only display volume names', { short: 'q' }),
  },
  run: async ({ cli, flags }) => {
    const { volumes } = await cli.engine();
    const found = await volumes.list(cli.context, splitFilters(flags.filter));
    const rows = found.toSorted((a, b) => (a.name < b.name ? -1 : 1)).map((volume) => volumeView(volume));
    const format = flags.format === '' && flags.quiet ? '{{.Name}}' : flags.format;
    cli.stdout.write(
      renderList(rows, { format, table: flags.quiet ? '{{.Name}}' : volumeTable, headers: volumeHeaders }),
    );
    return 0;
  },
});
