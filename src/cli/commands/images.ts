import { type Command, atMost, command as define } from '../command.ts';
import { bool, list, refused, string } from '../flags.ts';
import { checkFilter, splitFilters } from '../options/filters.ts';
import { imageHeaders, imageRows, imageTable, imageView } from '../output/image-view.ts';
import { formatHelp, renderList } from '../output/list-view.ts';

export const command: Command = define({
  usage: '[OPTIONS] [REPOSITORY[:TAG]]',
  about: 'List images',
  aliases: ['image ls', 'image list', 'images'],
  arity: atMost(1),
  flags: {
    all: bool('Show all images (default hides intermediate images)', { short: 'a' }),
    digests: bool('Show digests'),
    filter: list('Filter output based on conditions provided', { short: 'f', type: 'filter', check: checkFilter }),
    format: string(formatHelp),
    'no-trunc': bool("Don't truncate output"),
    quiet: bool('Only show image IDs', { short: 'q' }),
    tree: refused(''),
  },
  run: async ({ cli, flags, args }) => {
    const { digests, quiet, format } = flags;
    if (quiet && format !== '' && format !== 'table')
      cli.stderr.line('WARNING: Ignoring custom format, because both --format and --quiet are set.');
    const [pattern] = args;
    const filters = splitFilters([...flags.filter, ...(pattern === undefined ? [] : [`reference=${pattern}`])]);
    const { images } = await cli.engine();
    const withDigests = digests || format.includes('.Digest');
    const found = images.list(filters);
    const truncate = !flags['no-trunc'];
    if (quiet) {
      cli.stdout.write(
        found
          .map(
            (image) =>
              `${imageView({ image, repository: '', tag: '', digest: '' }, truncate).fields['ID']?.() as string}\n`,
          )
          .join(''),
      );
      return 0;
    }
    const rows = found.flatMap((image) => imageRows(image, withDigests)).map((row) => imageView(row, truncate));
    cli.stdout.write(renderList(rows, { format, table: imageTable(digests), headers: imageHeaders }));
    return 0;
  },
});
