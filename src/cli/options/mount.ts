import { resolve } from 'node:path';
import type { MountSpec } from '../../engine/types.ts';
import { parseBytes } from './bytes.ts';
import { parseCsv } from './csv.ts';

type Draft = { -readonly [K in keyof MountSpec]?: MountSpec[K] } & { driver?: string };

function truth(key: string, value: string | undefined): boolean {
  if (value === undefined || value === 'true' || value === '1') return true;
  if (value === 'false' || value === '0') return false;
  throw new Error(
    `invalid value for '${key}': invalid boolean value ("${value}"): must be one of "true", "1", "false", or "0" (default "true")`,
  );
}

/** Docker's `--mount`: `type=bind,source=/a,target=/b,readonly`. Throws in docker's words. */
export function parseMount(text: string): MountSpec {
  const draft: Draft = { type: 'volume', source: '', target: '', readOnly: false };
  const labels: Record<string, string> = {};
  if (text === '') throw new Error('value is empty');
  for (const field of parseCsv(text.trim())) {
    const equals = field.indexOf('=');
    const key = (equals < 0 ? field : field.slice(0, equals)).toLowerCase();
    const value = equals < 0 ? undefined : field.slice(equals + 1);
    if (
      value === undefined &&
      !['readonly', 'ro', 'volume-nocopy', 'bind-nonrecursive', 'bind-create-src'].includes(key)
    )
      throw new Error(`invalid field '${field}' must be a key=value pair`);
    if (key !== key.trim() || key === '')
      throw new Error(`invalid option '${key}' in '${field}': option should not have whitespace`);
    if (value !== undefined && (value === '' || value !== value.trim()) && key !== 'volume-label')
      throw new Error(
        value === ''
          ? `invalid value for '${key}': value is empty`
          : `invalid value for '${key}' in '${field}': value should not have whitespace`,
      );
    set(draft, labels, key, value ?? 'true', field);
  }
  return finish(draft, labels);
}

function set(draft: Draft, labels: Record<string, string>, key: string, value: string, field: string): void {
  switch (key) {
    case 'type': {
      const type = value.toLowerCase();
      // Checked at the end, so that docker's complaints come in docker's order.
      draft.type = type as MountSpec['type'];
      return;
    }
    case 'source':
    case 'src':
      draft.source = value;
      return;
    case 'target':
    case 'dst':
    case 'destination':
      draft.target = value;
      return;
    case 'readonly':
    case 'ro':
      draft.readOnly = truth(key, value);
      return;
    case 'consistency':
      return;
    case 'bind-propagation': {
      const known = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'] as const;
      const found = known.find((word) => word === value.toLowerCase());
      if (!found) throw new Error(`invalid propagation mode: ${value}`);
      draft.propagation = found;
      return;
    }
    case 'bind-nonrecursive':
      draft.nonRecursive = truth(key, value);
      return;
    case 'bind-recursive':
      if (value === 'disabled') draft.nonRecursive = true;
      else if (value !== 'enabled' && value !== 'writable')
        throw new Error(
          value === 'readonly'
            ? `invalid value for ${key}: ${value} is not supported by keelson`
            : `invalid value for ${key}: ${value} (must be "enabled", "disabled", "writable", or "readonly")`,
        );
      return;
    case 'bind-create-src':
      draft.createSource = truth(key, value);
      return;
    case 'volume-nocopy':
      draft.noCopy = truth(key, value);
      return;
    case 'volume-label': {
      const at = value.indexOf('=');
      labels[at < 0 ? value : value.slice(0, at)] = at < 0 ? '' : value.slice(at + 1);
      return;
    }
    case 'volume-driver':
      if (value !== 'local') throw new Error(`volume driver "${value}" is not supported by keelson: only "local" is`);
      return;
    case 'tmpfs-size':
      draft.tmpfsSize = parseBytes(value);
      return;
    case 'tmpfs-mode':
      if (!/^[0-7]+$/.test(value) || Number.parseInt(value, 8) > 0o7777)
        throw new Error(`invalid value for ${key}: ${value}`);
      draft.tmpfsMode = Number.parseInt(value, 8);
      return;
    case 'volume-opt':
    case 'volume-subpath':
    case 'image-subpath':
      throw new Error(`option '${key}' in '${field}' is not supported by keelson`);
    default:
      throw new Error(`unexpected key '${key}' in '${field}'`);
  }
}

/** Which options belong to one type of mount alone. */
const owners: readonly {
  readonly type: MountSpec['type'];
  readonly keys: readonly (keyof Draft)[];
  readonly prefix: string;
}[] = [
  { type: 'bind', keys: ['propagation', 'nonRecursive', 'createSource'], prefix: 'bind-*' },
  { type: 'volume', keys: ['noCopy', 'volumeLabels'], prefix: 'volume-*' },
  { type: 'tmpfs', keys: ['tmpfsSize', 'tmpfsMode'], prefix: 'tmpfs-*' },
];

function finish(draft: Draft, labels: Record<string, string>): MountSpec {
  if (Object.keys(labels).length > 0) draft.volumeLabels = labels;
  const { type = 'volume', target = '', source = '' } = draft;
  if (target === '') throw new Error('target is required');
  for (const owner of owners)
    if (owner.type !== type && owner.keys.some((key) => draft[key] !== undefined))
      throw new Error(`cannot mix '${owner.prefix}' options with mount type '${type}'`);
  if (!['bind', 'volume', 'tmpfs'].includes(type)) throw new Error(`mount type "${type}" is not supported by keelson`);
  if (!target.startsWith('/'))
    throw new Error(
      `invalid mount config for type "${type}": invalid mount path: '${target}' mount path must be absolute`,
    );
  if (type === 'bind' && source === '')
    throw new Error('invalid mount config for type "bind": field Source must not be empty');
  if (type === 'tmpfs' && source !== '')
    throw new Error('invalid mount config for type "tmpfs": field Source must not be specified');
  return {
    ...(draft as MountSpec),
    ...(type === 'bind' && { source: source.startsWith('.') ? resolve(source) : source }),
  };
}
