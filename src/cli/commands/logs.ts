import type { LogOptions } from '../../engine/types.ts';
import { KeelsonError, messageOf } from '../../ground/errors.ts';
import { type Command, command as define, exactly } from '../command.ts';
import { bool, string } from '../flags.ts';
import { parseTimestamp } from '../options/timestamp.ts';
import { BatchWriter } from '../output/batch-writer.ts';

function time(name: string, text: string): number | undefined {
  if (text === '') return undefined;
  try {
    return parseTimestamp(text);
  } catch (error) {
    throw new KeelsonError('invalid-argument', `invalid value for ${JSON.stringify(name)}: ${messageOf(error)}`);
  }
}

function lines(text: string): number | undefined {
  if (text === 'all' || text === '' || text === '-1') return undefined;
  if (!/^\d+$/.test(text))
    throw new KeelsonError(
      'invalid-argument',
      `invalid value for "tail": ${JSON.stringify(text)}: a number or "all" is expected`,
    );
  return Number(text);
}

/** Docker shows all nine digits behind the second. */
function fixedTime(recorded: string): string {
  return recorded.replace(
    /(?:\.(\d*))?(Z|[+-]\d\d:\d\d)$/,
    (_, digits: string | undefined, zone: string) => `.${(digits ?? '').padEnd(9, '0')}${zone}`,
  );
}

export const command: Command = define({
  usage: '[OPTIONS] CONTAINER',
  about: 'Fetch the logs of a container',
  aliases: ['container logs', 'logs'],
  arity: exactly(1),
  flags: {
    details: bool('Show extra details provided to logs'),
    follow: bool('Follow log output', { short: 'f' }),
    since: string('Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)'),
    tail: string('Number of lines to show from the end of the logs', { short: 'n', initial: 'all' }),
    timestamps: bool('Show timestamps', { short: 't' }),
    until: string('Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)'),
  },
  run: async ({ cli, flags, args }) => {
    const since = time('since', flags.since);
    const until = time('until', flags.until);
    const tail = lines(flags.tail);
    const options: LogOptions = {
      follow: flags.follow,
      ...(since !== undefined && { since }),
      ...(until !== undefined && { until }),
      ...(tail !== undefined && { tail }),
    };
    const writers = { stdout: new BatchWriter(cli.stdout), stderr: new BatchWriter(cli.stderr) };
    const engine = await cli.engine();
    let last: 'stdout' | 'stderr' = 'stdout';
    for await (const entry of engine.logs(cli.context, args[0] as string, options)) {
      // One stream's lines are written before the other's that came later.
      if (entry.stream !== last) await writers[last].flush();
      last = entry.stream;
      // Our logs carry no attributes: details are the empty word that docker prints then.
      const details = flags.details ? ' ' : '';
      const prefix = flags.timestamps ? `${fixedTime(entry.time)} ${details}` : details;
      await writers[last].add(prefix + entry.line);
    }
    await writers.stdout.flush();
    await writers.stderr.flush();
    return 0;
  },
});
