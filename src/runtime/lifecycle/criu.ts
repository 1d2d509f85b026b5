/** What checkpoint and restore have in common: CRIU itself, its options, and which mounts it is to leave to us. */
import { mkdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fromSystemError, KeelsonError } from '../../ground/errors.ts';
import { findProgram } from '../../kernel/facts.ts';
import type { LinuxNamespaceType, Mount, Spec } from '../../spec/runtime.ts';
import { criuCgroupModes, encodeMessage, type Fields } from '../criu-messages.ts';
import { isBind } from '../mount-sources.ts';
import { namespaceFile } from '../namespaces.ts';
import type { Host } from './host.ts';

export interface CriuOptions {
  readonly program?: string;
  readonly images: string;
  readonly work?: string;
  /** A key of `criuCgroupModes`. */
  readonly cgroupMode: string;
  readonly tcpEstablished: boolean;
  readonly externalUnixSockets: boolean;
  readonly shellJob: boolean;
  readonly fileLocks: boolean;
  readonly autoDedup: boolean;
  readonly lazyPages: boolean;
  readonly lsmProfile?: string;
  readonly lsmMountContext?: string;
}

/** Network devices and addresses are those of whoever made the namespace. */
const emptyNamespaces = 0x40000000;
export const externalNamespaces: readonly LinuxNamespaceType[] = ['network', 'pid'];

export function findCriu(host: Host, given: string | undefined): string {
  const path = host.environment['PATH']?.split(':') ?? [];
  const found = given || findProgram('criu', path);
  if (found) return found;
  throw new KeelsonError(
    'unsupported',
    'CRIU version check failed: exec: "criu": executable file not found in $PATH (checkpoint and restore need the program criu of the package criu)',
  );
}

/** The fields of criu_opts that both take. `annotations`: `org.criu.config` names a file of more options, '' for none. */
export function commonFields(
  options: CriuOptions,
  known: { images: number; work: number },
  spec: Spec,
  log: string,
): Fields {
  const mode = criuCgroupModes[options.cgroupMode];
  if (mode === undefined) throw new KeelsonError('invalid-argument', 'invalid manage-cgroups-mode value');
  const config = spec.annotations?.['org.criu.config'] ?? '/etc/criu/runc.conf';
  return [
    [1, known.images],
    [4, options.externalUnixSockets],
    [5, options.tcpEstablished],
    [7, options.shellJob],
    [8, options.fileLocks],
    [9, 4], // log level: debug
    [10, log],
    [12, true], // tell of steps
    [16, options.autoDedup],
    [17, known.work >= 0 ? known.work : undefined],
    [24, true],
    [34, mode],
    [38, emptyNamespaces],
    [48, options.lazyPages],
    [50, true], // the terminal's other side is ours
    [51, config === '' ? undefined : config],
    [53, options.lsmProfile],
    [63, options.lsmMountContext],
  ];
}

export function pairs(field: number, map: readonly (readonly [key: string, value: string])[]): Fields {
  return [
    [
      field,
      map.map(([key, value]) =>
        encodeMessage([
          [1, key],
          [2, value],
        ]),
      ),
    ],
  ];
}

export function externalKey(type: LinuxNamespaceType): string {
  const name = namespaceFile[type];
  return `extRoot${name[0]?.toUpperCase()}${name.slice(1)}NS`;
}

/** What is mounted from outside, by its place in the container; control groups of version 1 are, without a namespace of their own. */
export function externalMounts(
  spec: Spec,
  rootfs: string,
  hierarchies: Readonly<Record<string, string>>,
): readonly (readonly [destination: string, source: string])[] {
  return (spec.mounts ?? []).flatMap((mount: Mount) => {
    const place = resolveIn(rootfs, mount.destination);
    if (isBind(mount)) return [[place, mount.source ?? ''] as const];
    if (mount.type !== 'cgroup') return [];
    return Object.entries(hierarchies)
      .filter(([name]) => name !== '')
      .map(([name, directory]) => [join(place, name), directory] as const);
  });
}

/** As the kernel would go there with the root changed; a name only, for CRIU to compare with those of mounts. */
export function resolveIn(root: string, path: string): string {
  let rest = path.split('/');
  let at = '/';
  for (let links = 0; rest.length > 0; ) {
    const [word = '', ...others] = rest;
    rest = others;
    if (word === '' || word === '.') continue;
    if (word === '..') {
      at = join(at, '..');
      continue;
    }
    const next = join(at, word);
    const target = linkAt(join(root, next));
    if (target === undefined || ++links > 40) at = next;
    else {
      if (target.startsWith('/')) at = '/';
      rest = [...target.split('/'), ...rest];
    }
  }
  return at;
}

function linkAt(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

export function ensureDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw fromSystemError(error, `making ${path}`);
  }
}

/** The lines in which CRIU's log speaks of errors. */
export function tellErrors(host: Host, log: string): void {
  let text: string;
  try {
    text = readFileSync(log, 'utf8');
  } catch {
    return;
  }
  const lines = text.split('\n').filter((line) => line.includes('Error'));
  for (const line of lines.slice(0, 50)) host.warn(`${log}: ${line}`);
}
