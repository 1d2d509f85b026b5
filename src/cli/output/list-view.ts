import { KeelsonError, messageOf } from '../../ground/errors.ts';
import { type Functions, builtins } from '../template/functions.ts';
import { headerFunctions } from '../template/docker-functions.ts';
import { TemplateError, type Template } from '../template/parser.ts';
import { executeTemplate, parseTemplate } from '../template/template.ts';
import { View } from '../template/values.ts';
import { alignTable } from './table.ts';

export const formatHelp = `Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template`;

/** The same for documents, which have no table. */
export const documentFormatHelp = `Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template`;

/** How rows are printed: docker's `--format`. */
export interface ListFormat {
  /** What the user gave; '' for the default. */
  readonly format: string;
  /** The template of the default table: `table {{.ID}}\t{{.Names}}`. */
  readonly table: string;
  /** The heading of each column, by the field's name. */
  readonly headers: Readonly<Record<string, string>>;
}

function isTable(format: string): boolean {
  return format === 'table' || format.startsWith('table ') || format.startsWith('table\t');
}

/** The template behind a `--format`, and whether it is a table's. */
export function resolveFormat({ format, table }: ListFormat): { readonly text: string; readonly isTable: boolean } {
  let chosen = format;
  if (chosen === '' || chosen === 'table') chosen = table;
  if (chosen === 'json') chosen = '{{json .}}';
  const asTable = isTable(chosen);
  const text = (asTable ? chosen.slice('table'.length) : chosen).trim();
  return { text: text.replaceAll('\\t', '\t').replaceAll('\\n', '\n'), isTable: asTable };
}

/**
 * Whether a template of the user's looks at a field that is costly to fill. Throws in docker's words when there is something wrong
 * with the template, before anything has been asked of the engine.
 */
export function wantsField(format: string, name: string, headers: Readonly<Record<string, string>>): boolean {
  if (['', 'table', 'json'].includes(format)) return false;
  let wanted = false;
  const fields = Object.keys(headers).map((field): [string, () => unknown] => [
    field,
    () => {
      if (field === name) wanted = true;
      return '';
    },
  ]);
  const probe = new View('*formatter.ContainerContext', Object.fromEntries(fields), {
    Label: (label) => label.slice(0, 0),
  });
  let template: Template;
  try {
    template = parseTemplate(format);
  } catch (error) {
    throw new KeelsonError('invalid-argument', `failed to parse template: ${messageOf(error)}`, { cause: error });
  }
  try {
    executeTemplate(template, probe);
  } catch (error) {
    throw new KeelsonError('invalid-argument', `failed to execute template: ${messageOf(error)}`, { cause: error });
  }
  return wanted;
}

/** Heading of a column that a method with an argument fills: `{{.Label "com.example.some-name"}}` is headed `some name`. */
function labelHeading(name: string): string {
  return (name.split('.').at(-1) ?? '').replaceAll(/[-_]/g, ' ');
}

function parse(text: string): Template {
  try {
    return parseTemplate(text);
  } catch (error) {
    if (error instanceof TemplateError)
      throw new KeelsonError('invalid-argument', `template parsing error: ${error.message}`, { cause: error });
    throw error;
  }
}

/** Prints rows by a format, each on its line, a table with its headings. Throws an Error in docker's words on a bad template. */
export function renderList(rows: readonly View[], listFormat: ListFormat): string {
  const { text, isTable: asTable } = resolveFormat(listFormat);
  const template = parse(text);
  const render = (data: unknown, functions?: Functions): string => {
    try {
      return executeTemplate(template, data, functions && { functions });
    } catch (error) {
      if (error instanceof TemplateError)
        throw new KeelsonError('invalid-argument', `template parsing error: ${error.message}`, { cause: error });
      throw error;
    }
  };
  const lines = rows.map((row) => render(row));
  if (!asTable) return lines.map((line) => `${line}\n`).join('');
  const [row] = rows;
  const headings = new View(
    '',
    Object.fromEntries(Object.entries(listFormat.headers).map(([name, heading]) => [name, () => heading])),
    row === undefined
      ? { Label: (name) => labelHeading(name) }
      : Object.fromEntries(
          Object.keys(row.methods).map((name) => [name, (argument: string) => labelHeading(argument)]),
        ),
  );
  const header = render(headings, new Map([...builtins, ...headerFunctions]));
  return alignTable([header, ...lines].map((line) => `${line}\n`).join(''));
}
