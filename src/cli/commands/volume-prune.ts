import { type Command, command as define, noArgs } from '../command.ts';
import { bool, list } from '../flags.ts';
import { checkFilter, splitFilters } from '../options/filters.ts';
import { printPruned } from '../output/pruned.ts';
import { confirm } from '../session/confirm.ts';

export const command: Command = define({
  usage: '[OPTIONS]',
  about: 'Remove unused local volumes',
  arity: noArgs,
  flags: {
    all: bool('Remove all unused volumes, not just anonymous ones', { short: 'a' }),
    filter: list('Provide filter values (e.g. "label=<label>")', { type: 'filter', check: checkFilter }),
    force: bool('Do not prompt for confirmation', { short: 'f' }),
  },
  run: async ({ cli, flags }) => {
    const { all, force } = flags;
    const what = all ? 'all local volumes' : 'anonymous local volumes';
    if (!force && !(await confirm(cli, `WARNING! This will remove ${what} not used by at least one container.`)))
      return 0;
    const { volumes } = await cli.engine();
    printPruned(
      cli,
      'Deleted Volumes:',
      await volumes.prune(cli.context, { all, filters: splitFilters(flags.filter) }),
    );
    return 0;
  },
});
