import { type Command, command as define, noArgs } from '../command.ts';
import { bool, string } from '../flags.ts';
import { diskUsage } from '../disk-usage.ts';
import { dfHeaders, dfTable, dfViews, verboseDf } from '../output/df-view.ts';
import { formatHelp, renderList } from '../output/list-view.ts';

export const command: Command = define({
  usage: '[OPTIONS]',
  about: 'Show disk usage',
  arity: noArgs,
  flags: {
    format: string(formatHelp),
    verbose: bool('Show detailed information on space usage', { short: 'v' }),
  },
  run: async ({ cli, flags }) => {
    const usage = await diskUsage(cli);
    cli.stdout.write(
      flags.verbose
        ? verboseDf(usage)
        : renderList(dfViews(usage), { format: flags.format, table: dfTable, headers: dfHeaders }),
    );
    return 0;
  },
});
