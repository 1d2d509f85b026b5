import { type Command, command as define, noArgs } from '../command.ts';
import { bool, list } from '../flags.ts';
import { checkFilter, splitFilters } from '../options/filters.ts';
import { confirm } from '../session/confirm.ts';
import { printPruned } from '../output/pruned.ts';
import { pruneContainers } from '../prune.ts';

export const command: Command = define({
  usage: '[OPTIONS]',
  about: 'Remove all stopped containers',
  arity: noArgs,
  flags: {
    filter: list('Provide filter values (e.g. "until=<timestamp>")', { type: 'filter', check: checkFilter }),
    force: bool('Do not prompt for confirmation', { short: 'f' }),
  },
  run: async ({ cli, flags }) => {
    if (!flags.force && !(await confirm(cli, 'WARNING! This will remove all stopped containers.'))) return 0;
    printPruned(cli, 'Deleted Containers:', await pruneContainers(cli, splitFilters(flags.filter)));
    return 0;
  },
});
