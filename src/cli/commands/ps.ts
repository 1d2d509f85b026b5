import { containerSummary } from '../../api/docker/container-summary.ts';
import { type Command, command as define, noArgs } from '../command.ts';
import { bool, int, list, string } from '../flags.ts';
import { checkFilter, splitFilters } from '../options/filters.ts';
import { containerHeaders, containerTable, containerView } from '../output/container-view.ts';
import { formatHelp, renderList, wantsField } from '../output/list-view.ts';

export const command: Command = define({
  usage: '[OPTIONS]',
  about: 'List containers',
  aliases: ['container ls', 'container list', 'container ps', 'ps'],
  arity: noArgs,
  flags: {
    all: bool('Show all containers (default shows just running)', { short: 'a' }),
    filter: list('Filter output based on conditions provided', { short: 'f', type: 'filter', check: checkFilter }),
    format: string(formatHelp),
    last: int('Show n last created containers (includes all states)', { short: 'n', shownDefault: '-1' }),
    latest: bool('Show the latest created container (includes all states)', { short: 'l' }),
    'no-trunc': bool("Don't truncate output"),
    quiet: bool('Only display container IDs', { short: 'q' }),
    size: bool('Display total file sizes', { short: 's' }),
  },
  run: async ({ cli, flags }) => {
    const { quiet, format } = flags;
    if (quiet && format !== '' && format !== 'table')
      cli.stderr.line('WARNING: Ignoring custom format, because both --format and --quiet are set.');
    const table = flags.size ? `${containerTable}\t{{.Size}}` : containerTable;
    const chosen = quiet ? '{{.ID}}' : format;
    // Adding up a container's files takes time, so it is only done for those who look at the sum.
    const size = flags.size || (!quiet && wantsField(chosen, 'Size', containerHeaders));
    const last = flags.latest ? 1 : (flags.last ?? -1);
    const engine = await cli.engine();
    const containers = await engine.list(cli.context, {
      all: flags.all || last > 0,
      filters: splitFilters(flags.filter),
      size,
      ...(last > 0 && { last }),
    });
    const rows = containers.map((container) => containerView(containerSummary(container), !flags['no-trunc']));
    cli.stdout.write(renderList(rows, { format: chosen, table, headers: containerHeaders }));
    return 0;
  },
});
