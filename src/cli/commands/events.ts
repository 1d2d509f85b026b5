import { eventDocument } from '../../api/docker/event.ts';
import { toJson } from '../../api/docker/json.ts';
import type { EngineEvent } from '../../engine/types.ts';
import { KeelsonError, messageOf } from '../../ground/errors.ts';
import { type Command, command as define, noArgs } from '../command.ts';
import { list, string } from '../flags.ts';
import { checkFilter, splitFilters } from '../options/filters.ts';
import { parseTimestamp } from '../options/timestamp.ts';
import { BatchWriter } from '../output/batch-writer.ts';
import { documentFormatHelp } from '../output/list-view.ts';
import { localRfc3339 } from '../output/when.ts';
import { executeTemplate, parseTemplate } from '../template/template.ts';

function time(text: string): number | undefined {
  if (text === '') return undefined;
  try {
    return parseTimestamp(text);
  } catch (error) {
    throw new KeelsonError('invalid-argument', messageOf(error));
  }
}

/** `2026-11-22T06:12:19.524751989Z volume mount vol1 (destination=/v, driver=local)` */
function eventLine({ type, action, id, attributes, timeNano }: EngineEvent): string {
  const when = localRfc3339(Number(timeNano / 1_000_000n), Number(timeNano % 1_000_000_000n));
  const pairs = Object.entries(attributes)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`);
  return `${when} ${type} ${action} ${id}${pairs.length === 0 ? '' : ` (${pairs.join(', ')})`}`;
}

function formatter(format: string): (event: EngineEvent) => string {
  if (format === '') return eventLine;
  if (format === 'json') return (event) => toJson(eventDocument(event), { escapeHtml: true });
  try {
    const template = parseTemplate(format);
    return (event) => executeTemplate(template, eventDocument(event));
  } catch (error) {
    throw new KeelsonError('invalid-argument', `Error parsing format: ${messageOf(error)}`);
  }
}

export const command: Command = define({
  usage: '[OPTIONS]',
  about: 'Get real time events',
  aliases: ['system events', 'events'],
  arity: noArgs,
  flags: {
    filter: list('Filter output based on conditions provided', { short: 'f', type: 'filter', check: checkFilter }),
    format: string(documentFormatHelp),
    since: string('Show all events created since timestamp'),
    until: string('Stream events until this timestamp'),
  },
  run: async ({ cli, flags }) => {
    const since = time(flags.since);
    const until = time(flags.until);
    const format = formatter(flags.format);
    const engine = await cli.engine();
    const writer = new BatchWriter(cli.stdout);
    for await (const event of engine.events(cli.context, {
      ...(since !== undefined && { since }),
      ...(until !== undefined && { until }),
      filters: splitFilters(flags.filter),
    }))
      await writer.add(`${format(event)}\n`);
    await writer.flush();
    return 0;
  },
});
