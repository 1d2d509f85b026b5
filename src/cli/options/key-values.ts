import { readFileSync } from 'node:fs';
import { KeelsonError } from '../../ground/errors.ts';

/** Node's message for a system error in the words of Go: `open /x: no such file or directory`. */
export function openError(path: string, error: unknown): KeelsonError {
  const { code, message } = error as NodeJS.ErrnoException;
  const words: Readonly<Record<string, string>> = {
    ENOENT: 'no such file or directory',
    EACCES: 'permission denied',
    EISDIR: 'is a directory',
    ENOTDIR: 'not a directory',
  };
  const why = (code !== undefined && words[code]) || message;
  const verb = code === 'EISDIR' ? 'read' : 'open';
  return new KeelsonError(code === 'ENOENT' ? 'not-found' : 'invalid-argument', `${verb} ${path}: ${why}`, {
    cause: error,
  });
}

const sizeLimit = 16 * 1024 * 1024;

/** Lines of `name=value` in docker's form: `#` begins a comment line, blanks before the name don't count, the value is taken as it is. */
function readLines(path: string, what: string, withoutValue: (name: string) => string | undefined): string[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw openError(path, error);
  }
  const problem = (message: string): KeelsonError =>
    new KeelsonError('invalid-argument', `invalid ${what} file (${path}): ${message}`);
  if (bytes.length > sizeLimit) throw problem('larger than 16 MiB');
  let content: string;
  try {
    content = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw problem('not UTF-8');
  }
  const entries: string[] = [];
  for (const [i, raw] of content.split('\n').entries()) {
    const line = raw.replace(/\r$/, '').replace(/^[ \t\v\f\r]+/, '');
    if (line === '' || line.startsWith('#')) continue;
    const equals = line.indexOf('=');
    const name = equals < 0 ? line : line.slice(0, equals);
    if (name === '') throw problem(`no variable name on line '${line}'`);
    if (/\s/.test(name)) throw problem(`variable '${name}' contains whitespaces`);
    if (line.includes('\0')) throw problem(`a NUL byte on line ${i + 1}`);
    if (equals >= 0) entries.push(line);
    else {
      const value = withoutValue(name);
      if (value !== undefined) entries.push(value);
    }
  }
  return entries;
}

/** `--env-file`s, then `-e`s: a name alone takes its value from the environment here; in a file, if it has one. */
export function readEnvironment(files: readonly string[], entries: readonly string[]): string[] {
  const fromFiles = files.flatMap((path) =>
    readLines(path, 'env', (name) => (process.env[name] === undefined ? undefined : `${name}=${process.env[name]}`)),
  );
  return [...fromFiles, ...entries];
}

/** Checks an `-e`; a name alone takes its value from the environment here, and stays alone (which removes it) when there is none. */
export function checkEnv(entry: string): string {
  if (entry === '' || entry.startsWith('=')) throw new Error(`invalid environment variable: ${entry}`);
  if (entry.includes('=')) return entry;
  const value = process.env[entry];
  return value === undefined ? entry : `${entry}=${value}`;
}

/** Checks a `--label`. */
export function checkLabel(entry: string): string {
  if (entry.split('=', 1)[0]?.trim() === '') throw new Error(`invalid label '${entry}': empty name`);
  return entry;
}

/** `--label-file`s, then `--label`s, as an object. */
export function readLabels(files: readonly string[], entries: readonly string[]): Record<string, string> {
  return keyValues([...files.flatMap((path) => readLines(path, 'label', (name) => name)), ...entries]);
}

/** `name=value` entries as an object; a name alone has an empty value, the last of two counts. */
export function keyValues(entries: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    entries.map((entry): [string, string] => {
      const equals = entry.indexOf('=');
      return equals < 0 ? [entry, ''] : [entry.slice(0, equals), entry.slice(equals + 1)];
    }),
  );
}
