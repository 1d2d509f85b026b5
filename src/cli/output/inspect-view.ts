import { toJson } from '../../api/docker/json.ts';
import { Nil } from '../../api/docker/nil.ts';
import type { Cli } from '../cli.ts';
import { Exit, printError } from '../failure.ts';
import { type Template, TemplateError } from '../template/parser.ts';
import { executeTemplate, parseTemplate } from '../template/template.ts';

/** The document as a map of maps, which Docker falls back to when a template names no field of its structs. */
function untyped(value: unknown): unknown {
  if (value instanceof Nil || value === null) return null;
  if (Array.isArray(value)) return value.map(untyped);
  if (typeof value !== 'object') return value;
  const entries = value instanceof Map ? [...(value as Map<string, unknown>)] : Object.entries(value);
  return new Map(entries.map(([key, field]) => [key, untyped(field)]));
}

function render(template: Template, document: object): string {
  try {
    return executeTemplate(template, document);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    return executeTemplate(template, untyped(document), { missingKeyError: true });
  }
}

/**
 * Prints the documents of `names`, by a template, or all in one JSON array. Goes on after names that there is nothing for; their errors
 * come last. Exit code 1 then, 64 for a template that can't be parsed.
 */
export async function inspectAll(
  cli: Cli,
  names: readonly string[],
  format: string,
  find: (name: string) => Promise<object>,
): Promise<number> {
  let template: Template | undefined;
  if (format !== '' && format !== 'json') {
    try {
      template = parseTemplate(format);
    } catch (error) {
      if (!(error instanceof TemplateError)) throw error;
      cli.stderr.line(`template parsing error: ${error.message}`);
      throw new Exit(64);
    }
  }
  const documents: object[] = [];
  const errors: unknown[] = [];
  let lines = '';
  for (const name of names) {
    try {
      const document = await find(name);
      if (template) lines += `${render(template, document)}\n`;
      else documents.push(document);
    } catch (error) {
      if (!(error instanceof TemplateError)) {
        errors.push(error);
        continue;
      }
      cli.stdout.write(lines || '\n');
      cli.stderr.line(`template parsing error: ${error.message}`);
      return 1;
    }
  }
  if (template) cli.stdout.write(lines || '\n');
  else cli.stdout.line(toJson(documents, format === 'json' ? {} : { indent: '    ' }));
  for (const error of errors) printError(cli, error);
  return errors.length === 0 ? 0 : 1;
}
