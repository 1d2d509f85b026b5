import { dockerFunctions } from './docker-functions.ts';
import { execute } from './execute.ts';
import { type Functions, builtins } from './functions.ts';
import { type Template, parse } from './parser.ts';

/** Parses a template that may use Go's and docker's functions. Throws a TemplateError with Go's message. */
export function parseTemplate(text: string): Template {
  return parse(text, new Set([...builtins.keys(), ...dockerFunctions.keys()]));
}

/** Carries a parsed template out. */
export function executeTemplate(
  template: Template,
  data: unknown,
  options: { readonly missingKeyError?: boolean; readonly functions?: Functions } = {},
): string {
  return execute(template, data, { functions: dockerFunctions, ...options });
}

/** Parses and carries out in one. */
export function renderTemplate(text: string, data: unknown): string {
  return executeTemplate(parseTemplate(text), data);
}
