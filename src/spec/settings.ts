import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fromSystemError, KeelsonError, messageOf } from '../ground/errors.ts';
import { integer, list, object, optional, read, record, type Shape, text } from './shape.ts';

/** keelson.toml. Every property may be absent. */
export interface Settings {
  readonly registries?: RegistriesSettings;
}

/**
 *     [registries]
 *     insecure = ["registry.lan:5000"]        # plain HTTP allowed, certificates not verified
 *     max-concurrent-downloads = 3
 *
 *     [registries.mirrors]
 *     "docker.io" = ["https://mirror.lan"]    # tried in order before the registry itself, to pull from
 */
export interface RegistriesSettings {
  readonly insecure?: readonly string[];
  readonly mirrors?: Readonly<Record<string, readonly string[]>>;
  /** Directories of `HOST[:PORT]/{*.crt,*.cert,*.key}`, instead of Docker's and containers' own. */
  readonly 'certificate-dirs'?: readonly string[];
  readonly 'max-concurrent-downloads'?: number;
  readonly 'max-concurrent-uploads'?: number;
}

const few = integer(1, 64);

const registries = closed<RegistriesSettings>(
  object<RegistriesSettings>('', {
    insecure: optional(list(text)),
    mirrors: optional(record(list(text))),
    'certificate-dirs': optional(list(text)),
    'max-concurrent-downloads': optional(few),
    'max-concurrent-uploads': optional(few),
  }),
  ['insecure', 'mirrors', 'certificate-dirs', 'max-concurrent-downloads', 'max-concurrent-uploads'],
);

const settings = closed<Settings>(object<Settings>('', { registries: optional(registries) }), ['registries']);

/** Where the settings are: the machine's for root, one's own (or else the machine's) for everybody else. */
export function settingsPaths(): string[] {
  const machine = '/etc/keelson/keelson.toml';
  if (process.geteuid?.() === 0) return [machine];
  return [join(process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'keelson/keelson.toml'), machine];
}

/** Reads the first file that is there; none is no error. Throws `invalid-argument` for one that is wrong. */
export async function loadSettings(paths: readonly string[] = settingsPaths()): Promise<Settings> {
  for (const path of paths) {
    let content: string;
    try {
      content = await readFile(path, 'utf8');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') continue;
      throw fromSystemError(error, `reading ${path}`);
    }
    return parseSettings(content, path);
  }
  return {};
}

/** `what` begins errors: the file's path. */
export async function parseSettings(content: string, what: string): Promise<Settings> {
  // Most machines have no such file: the parser is loaded when there is one.
  const { parse } = await import('smol-toml');
  let value: unknown;
  try {
    value = parse(content);
  } catch (cause) {
    const [first = ''] = messageOf(cause).split('\n', 1);
    throw new KeelsonError('invalid-argument', `${what}: ${first}`, { cause });
  }
  return read(settings, value, { what, standard: 'docs/settings.md' });
}

/** A typing error in a name must not pass for a default. */
function closed<T>(shape: Shape<T>, names: readonly string[]): Shape<T> {
  return (value, at) => {
    for (const name of typeof value === 'object' && value !== null ? Object.keys(value) : []) {
      if (!names.includes(name)) at.key(name).report(`is not a setting; known here: ${names.join(', ')}`);
    }
    return shape(value, at);
  };
}
