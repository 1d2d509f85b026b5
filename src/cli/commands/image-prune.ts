import { type Command, command as define, noArgs } from '../command.ts';
import { bool, list } from '../flags.ts';
import { checkFilter, splitFilters } from '../options/filters.ts';
import { printPruned } from '../output/pruned.ts';
import { pruneImages } from '../prune.ts';
import { confirm } from '../session/confirm.ts';

export const command: Command = define({
  usage: '[OPTIONS]',
  about: 'Remove unused images',
  arity: noArgs,
  flags: {
    all: bool('Remove all unused images, not just dangling ones', { short: 'a' }),
    filter: list('Provide filter values (e.g. "until=<timestamp>")', { type: 'filter', check: checkFilter }),
    force: bool('Do not prompt for confirmation', { short: 'f' }),
  },
  run: async ({ cli, flags }) => {
    const { all, force } = flags;
    const what = all ? 'all images without at least one container associated to them' : 'all dangling images';
    if (!force && !(await confirm(cli, `WARNING! This will remove ${what}.`))) return 0;
    printPruned(cli, 'Deleted Images:', await pruneImages(cli, { all, filters: splitFilters(flags.filter) }));
    return 0;
  },
});
