import { posix } from 'node:path';
import { KeelsonError } from '../ground/errors.ts';
import { printable } from './names.ts';
import type { ContainerConfig } from './types.ts';

/** The part of an image's config that containers inherit (image-spec, config.md), already checked for its types. */
export interface ImageDefaults {
  readonly User?: string | undefined;
  readonly ExposedPorts?: Readonly<Record<string, unknown>> | undefined;
  readonly Env?: readonly string[] | undefined;
  readonly Entrypoint?: readonly string[] | undefined;
  readonly Cmd?: readonly string[] | undefined;
  readonly Volumes?: Readonly<Record<string, unknown>> | undefined;
  readonly WorkingDir?: string | undefined;
  readonly Labels?: Readonly<Record<string, string>> | undefined;
  readonly StopSignal?: string | undefined;
}

export interface MergedConfig {
  readonly config: ContainerConfig;
  readonly path: string;
  readonly args: readonly string[];
  /** Targets of the image's VOLUMEs, cleaned: absolute, without `..`, never `/`. */
  readonly imageVolumes: readonly string[];
}

/** Bounds on what an image may bring along; far above what real ones have. */
const limits = { env: 10_000, labels: 10_000, volumes: 1_000, ports: 10_000 } as const;

/**
 * Lays the caller's words over the image's defaults, by docker's rules. The image is hostile input: only the fields named in
 * ImageDefaults are looked at, and none of them (labels least of all) steers anything but what it is for.
 */
export function mergeConfig(config: ContainerConfig, image: ImageDefaults): MergedConfig {
  const argv = commandLine(config, image);
  const [path, ...args] = argv;
  if (path === undefined) throw new KeelsonError('invalid-argument', 'no command specified');
  const merged: ContainerConfig = {
    ...config,
    command: argv.slice((config.entrypoint ?? image.Entrypoint ?? []).length),
    entrypoint: config.entrypoint ?? image.Entrypoint ?? [],
    env: mergeEnv(config.env ?? [], image.Env ?? []),
    labels: { ...bounded(image.Labels ?? {}, limits.labels, 'labels'), ...config.labels },
    user: config.user || image.User || '',
    workingDir: cleanWorkingDir(config.workingDir || image.WorkingDir || ''),
    exposedPorts: mergePorts(config.exposedPorts ?? [], image.ExposedPorts ?? {}),
  };
  const stopSignal = config.stopSignal || image.StopSignal;
  return {
    config: stopSignal ? { ...merged, stopSignal } : merged,
    path,
    args,
    imageVolumes: imageVolumes(image.Volumes ?? {}),
  };
}

/** ENTRYPOINT and CMD: an entrypoint of the caller's clears the image's command, a command of the caller's replaces it. */
function commandLine(config: ContainerConfig, image: ImageDefaults): readonly string[] {
  const entrypoint = config.entrypoint ?? image.Entrypoint ?? [];
  const given = config.command ?? [];
  const command = given.length > 0 ? given : config.entrypoint === undefined ? (image.Cmd ?? []) : [];
  return [...entrypoint, ...command];
}

/** The caller's variables first, then those of the image that the caller didn't name. */
export function mergeEnv(own: readonly string[], image: readonly string[]): readonly string[] {
  if (image.length > limits.env) throw tooMany('environment variables', limits.env);
  // A name without `=` takes the variable away; docker's client sends it for `-e NAME` when NAME isn't set.
  const named = new Set(own.map(nameOf));
  const last = new Map<string, string>();
  for (const entry of own) last.set(nameOf(entry), entry);
  return [...last.values(), ...image.filter((entry) => !named.has(nameOf(entry)))];
}

function nameOf(entry: string): string {
  const equals = entry.indexOf('=', 1);
  return equals < 0 ? entry : entry.slice(0, equals);
}

function cleanWorkingDir(path: string): string {
  if (path === '') return '';
  if (!path.startsWith('/')) {
    throw new KeelsonError(
      'invalid-argument',
      `the working directory '${printable(path)}' is invalid, it needs to be an absolute path`,
    );
  }
  return cleanPath(path);
}

/** A path inside the container: absolute, `.` and `..` resolved by name, no slash at the end. */
export function cleanPath(path: string): string {
  const clean = posix.normalize(`/${path}`);
  return clean.length > 1 && clean.endsWith('/') ? clean.slice(0, -1) : clean;
}

function mergePorts(
  own: NonNullable<ContainerConfig['exposedPorts']>,
  image: Readonly<Record<string, unknown>>,
): NonNullable<ContainerConfig['exposedPorts']> {
  const all = new Map(own.map((p) => [`${p.port}/${p.protocol}`, p]));
  for (const word of Object.keys(bounded(image, limits.ports, 'exposed ports'))) {
    for (const port of parseExposed(word)) all.set(`${port.port}/${port.protocol}`, port);
  }
  return [...all.values()];
}

/** `80`, `80/tcp`, `8000-8010/udp`; other protocols (sctp) are left out, since nothing can publish them. */
export function parseExposed(word: string): { port: number; protocol: 'tcp' | 'udp' }[] {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/([a-z]+))?$/i.exec(word);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  const protocol = match?.[3]?.toLowerCase() ?? 'tcp';
  if (!match || first < 1 || last > 65535 || last < first || last - first >= limits.ports) {
    throw new KeelsonError('invalid-argument', `invalid exposed port: ${printable(word)}`);
  }
  if (protocol !== 'tcp' && protocol !== 'udp') return [];
  return Array.from({ length: last - first + 1 }, (_, i) => ({ port: first + i, protocol }));
}

function imageVolumes(volumes: Readonly<Record<string, unknown>>): readonly string[] {
  const targets = new Set<string>();
  for (const target of Object.keys(bounded(volumes, limits.volumes, 'volumes'))) {
    if (target.includes('\0')) {
      throw new KeelsonError('invalid-argument', `invalid volume in the image: ${printable(target)}`);
    }
    const clean = cleanPath(target);
    if (clean === '/') {
      throw new KeelsonError('invalid-argument', "invalid volume in the image: destination can't be '/'");
    }
    targets.add(clean);
  }
  return [...targets];
}

function bounded<T>(map: Readonly<Record<string, T>>, most: number, what: string): Readonly<Record<string, T>> {
  if (Object.keys(map).length > most) throw tooMany(what, most);
  return map;
}

function tooMany(what: string, most: number): KeelsonError {
  return new KeelsonError('invalid-argument', `the image has more than ${most} ${what}`);
}
