import { type Command, command as define, noArgs } from '../command.ts';
import { bool, list } from '../flags.ts';
import { checkFilter, splitFilters } from '../options/filters.ts';
import { printReclaimed } from '../output/pruned.ts';
import { pruneContainers, pruneImages, pruneVolumes } from '../prune.ts';
import { confirm } from '../session/confirm.ts';

export const command: Command = define({
  usage: '[OPTIONS]',
  about: 'Remove unused data',
  arity: noArgs,
  flags: {
    all: bool('Remove all unused images not just dangling ones', { short: 'a' }),
    filter: list('Provide filter values (e.g. "label=<key>=<value>")', { type: 'filter', check: checkFilter }),
    force: bool('Do not prompt for confirmation', { short: 'f' }),
    volumes: bool('Prune anonymous volumes'),
  },
  run: async ({ cli, flags }) => {
    const { all, force, volumes } = flags;
    const what = [
      'all stopped containers',
      ...(volumes ? ['all anonymous volumes not used by at least one container'] : []),
      all ? 'all images without at least one container associated to them' : 'all dangling images',
    ];
    const warning = `WARNING! This will remove:\n${what.map((line) => `  - ${line}\n`).join('')}`;
    if (!force && !(await confirm(cli, warning))) return 0;
    const filters = splitFilters(flags.filter);
    const parts = [
      ['Deleted Containers:', await pruneContainers(cli, filters)] as const,
      ...(volumes ? [['Deleted Volumes:', await pruneVolumes(cli, filters)] as const] : []),
      ['Deleted Images:', await pruneImages(cli, { all, filters })] as const,
    ];
    for (const [title, { removed }] of parts)
      if (removed.length > 0) cli.stdout.write(`${title}\n${removed.map((name) => `${name}\n`).join('')}\n`);
    printReclaimed(cli, ...parts.map(([, pruned]) => pruned));
    return 0;
  },
});
