import { resolve } from 'node:path';
import type { MountSpec } from '../../engine/types.ts';
import { KeelsonError } from '../../ground/errors.ts';

const propagations = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'] as const;
type Propagation = (typeof propagations)[number];

function invalid(message: string): KeelsonError {
  return new KeelsonError('invalid-argument', message);
}

/**
 * Docker's `-v`: `target`, `source:target` or `source:target:options`. A source with a slash in front is a directory or file of
 * the host, made when it is missing; one with a dot in front is relative to the working directory; everything else names a volume.
 */
export function parseVolume(text: string): MountSpec {
  const parts = text.split(':');
  if (text === '' || parts.length > 3 || parts.some((part) => part === ''))
    throw invalid(text === '' ? 'invalid empty volume spec' : `invalid volume specification: '${text}'`);
  const [first = '', second, words] = parts;
  if (second === undefined) return { type: 'volume', source: '', target: checkTarget(first, text), readOnly: false };
  const target = checkTarget(second, text);
  const isBind = first.startsWith('/') || first.startsWith('.') || first.startsWith('~');
  const options = parseOptions(words ?? '', isBind, text);
  if (!isBind) return { type: 'volume', source: first, target, ...options };
  return {
    type: 'bind',
    source: resolve(first.replace(/^~(?=\/|$)/, process.env['HOME'] ?? '~')),
    target,
    createSource: true,
    ...options,
  };
}

function checkTarget(target: string, text: string): string {
  if (!target.startsWith('/'))
    throw invalid(
      `invalid volume specification: '${text}': invalid mount config: invalid mount path: '${target}' mount path must be absolute`,
    );
  if (/^\/+$/.test(target))
    throw invalid(
      `invalid volume specification: '${text}': invalid mount config: invalid specification: destination can't be '/'`,
    );
  return target;
}

function parseOptions(
  words: string,
  isBind: boolean,
  text: string,
): { readOnly: boolean; propagation?: Propagation; noCopy?: true } {
  let readOnly = false;
  let propagation: Propagation | undefined;
  let noCopy = false;
  for (const word of words === '' ? [] : words.split(',')) {
    if (word === 'ro' || word === 'rw') readOnly = word === 'ro';
    else if (isBind && propagations.some((known) => known === word)) propagation = word as Propagation;
    else if (word === 'nocopy' && !isBind) noCopy = true;
    // What they would do is up to SELinux and to virtual machines: there is neither here.
    else if (!['z', 'Z', 'cached', 'delegated', 'consistent', 'default'].includes(word))
      throw invalid(`invalid volume specification: '${text}': invalid mode: ${words}`);
  }
  return { readOnly, ...(propagation && { propagation }), ...(noCopy && { noCopy: true as const }) };
}

/** Docker's `--tmpfs`: `target` or `target:options`. */
export function parseTmpfs(text: string): MountSpec {
  const colon = text.indexOf(':');
  const target = colon < 0 ? text : text.slice(0, colon);
  const options =
    colon < 0
      ? []
      : text
          .slice(colon + 1)
          .split(',')
          .filter((word) => word !== '');
  if (!target.startsWith('/')) throw invalid(`invalid mount path: '${target}' mount path must be absolute`);
  return {
    type: 'tmpfs',
    source: '',
    target,
    readOnly: options.includes('ro'),
    options: options.filter((word) => word !== 'ro' && word !== 'rw'),
  };
}
