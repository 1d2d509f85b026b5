import { setTimeout as sleep } from 'node:timers/promises';
import type { EngineApi, Stats } from '../../engine/types.ts';
import { isKeelsonError } from '../../ground/errors.ts';
import type { Cli } from '../cli.ts';
import { type Command, atLeast, command as define } from '../command.ts';
import { bool, string } from '../flags.ts';
import { formatHelp, renderList } from '../output/list-view.ts';
import { type StatsRow, statsHeaders, statsTable, statsView } from '../output/stats-view.ts';

interface Row extends StatsRow {
  before: Stats | undefined;
  now: Stats | undefined;
}

export const command: Command = define({
  usage: '[OPTIONS] [CONTAINER...]',
  about: 'Display a live stream of container(s) resource usage statistics',
  aliases: ['container stats', 'stats'],
  arity: atLeast(0),
  flags: {
    all: bool('Show all containers (default shows just running)', { short: 'a' }),
    format: string(formatHelp),
    'no-stream': bool('Disable streaming stats and only pull the first result'),
    'no-trunc': bool('Do not truncate output'),
  },
  run: async ({ cli, flags, args }) => {
    const engine = await cli.engine();
    const rows = new Map<string, Row>();
    const refresh = async (): Promise<void> => {
      const containers =
        args.length > 0
          ? await Promise.all(args.map((name) => engine.inspect(cli.context, name)))
          : await engine.list(cli.context, { all: flags.all });
      const present = new Set(containers.map(({ id }) => id));
      for (const id of rows.keys()) if (!present.has(id)) rows.delete(id);
      for (const { id, name } of containers)
        rows.set(id, rows.get(id) ?? { id, name, before: undefined, now: undefined });
    };
    const print = (): string =>
      renderList(
        [...rows.values()].map((row) => statsView(row, !flags['no-trunc'])),
        { format: flags.format, table: statsTable, headers: statsHeaders },
      );
    await refresh();
    await sample(cli, engine, rows);
    if (flags['no-stream']) {
      // Docker's figure of the CPU is that of one second.
      await sleep(1000, undefined, { signal: cli.context.signal });
      await sample(cli, engine, rows);
      cli.stdout.write(print());
      return 0;
    }
    const screen = cli.stdout.isTerminal && (flags.format === '' || flags.format.startsWith('table'));
    if (screen) cli.stdout.write('\x1b[2J');
    while (!cli.context.signal.aborted) {
      // Each line is cleared behind what it holds now, then everything below.
      cli.stdout.write(screen ? `\x1b[H${print().replaceAll('\n', '\x1b[K\n')}\x1b[J` : print());
      await sleep(1000, undefined, { signal: cli.context.signal });
      if (args.length === 0) await refresh();
      await sample(cli, engine, rows);
    }
    return 0;
  },
});

/** Takes one sample of every container at once. One that has stopped shows zeros, one that is gone leaves. */
async function sample(cli: Cli, engine: EngineApi, rows: Map<string, Row>): Promise<void> {
  await Promise.all(
    [...rows.values()].map(async (row) => {
      try {
        for await (const stats of engine.stats(cli.context, row.id)) {
          row.before = row.now;
          row.now = stats;
          break;
        }
      } catch (error) {
        if (isKeelsonError(error, 'not-found')) rows.delete(row.id);
        else if (!isKeelsonError(error, 'conflict')) throw error;
      }
    }),
  );
}
