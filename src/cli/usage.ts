import type { Command } from './command.ts';
import { type Entry, root, sections } from './program.ts';
import type { FlagTable } from './flags.ts';

const width = 80;
export const programName = 'keelson';

/** Breaks `text` into lines of at most `columns` characters, keeping its own line breaks. */
function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split('\n')) {
    let line = '';
    for (const word of paragraph.split(/(?<=\S) /)) {
      if (line !== '' && line.length + 1 + word.length > columns) {
        lines.push(line);
        line = word;
      } else line = line === '' ? word : `${line} ${word}`;
    }
    lines.push(line);
  }
  return lines;
}

/** The flags, one a line, descriptions aligned, as docker prints them. */
function flagLines(table: FlagTable): string[] {
  const rows = Object.entries(table)
    .filter(([, flag]) => !flag.hidden)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, flag]) => {
      const left = flag.short === undefined ? `      --${name}` : `  -${flag.short}, --${name}`;
      const help = flag.shownDefault === '' ? flag.help : `${flag.help} (default ${flag.shownDefault})`;
      return { left: flag.type === '' ? left : `${left} ${flag.type}`, help };
    });
  const column = Math.max(...rows.map((row) => row.left.length)) + 3;
  return rows.flatMap(({ left, help }) =>
    wrap(help, Math.max(24, width - column)).map((line, i) => (i === 0 ? left : '').padEnd(column) + line),
  );
}

/** `Usage:  keelson run [OPTIONS] IMAGE …`, further forms below. */
export function usageLine(path: string, usage: readonly string[]): string {
  const name = path === '' ? programName : `${programName} ${path}`;
  const lines = usage.map((form) => `${name} ${form}`.trimEnd());
  return `Usage:  ${lines.join('\n\t')}`;
}

export function commandHelp(path: string, command: Command): string {
  const parts = [usageLine(path, command.usage), '', command.about];
  if (command.aliases.length > 0)
    parts.push('', 'Aliases:', `  ${command.aliases.map((a) => `${programName} ${a}`).join(', ')}`);
  if (Object.values(command.flags).some((flag) => !flag.hidden))
    parts.push('', 'Options:', ...flagLines(command.flags));
  return `${parts.join('\n')}\n`;
}

function commandLines(commands: Readonly<Record<string, Entry>>, names: readonly string[]): string[] {
  const column = Math.max(12, ...names.map((name) => name.length + 2));
  return names.map((name) => `  ${name.padEnd(column)}${(commands[name] as Entry).about}`);
}

export function groupHelp(path: string, group: Entry): string {
  const commands = group.commands ?? {};
  return [
    `Usage:  ${programName} ${path} COMMAND`,
    '',
    group.about,
    '',
    'Commands:',
    ...commandLines(commands, Object.keys(commands).toSorted()),
    '',
    `Run '${programName} ${path} COMMAND --help' for more information on a command.`,
    '',
  ].join('\n');
}

export function rootHelp(globals: FlagTable): string {
  const commands = root.commands ?? {};
  const shown = new Set(sections.flatMap((section) => section.names));
  const parts = [`Usage:  ${programName} [OPTIONS] COMMAND`, '', root.about];
  for (const { title, names } of sections) parts.push('', `${title}:`, ...commandLines(commands, names));
  const others = Object.keys(commands).filter((name) => !shown.has(name) && commands[name]?.hidden !== true);
  parts.push('', 'Commands:', ...commandLines(commands, others.toSorted()));
  parts.push('', 'Global Options:', ...flagLines(globals));
  parts.push('', `Run '${programName} COMMAND --help' for more information on a command.`, '');
  return parts.join('\n');
}

/** What docker says below an error in the words of a command line. */
export function usageHint(path: string, usage: readonly string[], see: 'Run' | 'See' = 'Run'): string {
  return `${usageLine(path, usage)}\n\n${see} '${programName}${path === '' ? '' : ` ${path}`} --help' for more information`;
}
