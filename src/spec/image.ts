/**
 * The OCI image-spec 1.1 and Docker's image manifest version 2, schema 2: what registries and archives hold.
 * Everything here comes from outside and is checked before use; the errors say `corrupt`, what document, where, why.
 */
import { KeelsonError } from '../ground/errors.ts';
import { type Digest, isDigest } from './digest.ts';
import { kindOf, mediaTypes } from './media-types.ts';
import {
  At,
  matching,
  integer,
  list,
  object,
  oneOf,
  optional,
  optionalText,
  type Problem,
  record,
  required,
  type Shape,
  text,
} from './shape.ts';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly urls?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: DescriptorPlatform;
}

export interface DescriptorPlatform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

export interface Manifest {
  readonly mediaType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Index {
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>>;
}

/** config.md; the properties below `config` beyond the specification are Docker's. Durations in nanoseconds. */
export interface ImageConfig {
  readonly created?: string;
  readonly author?: string;
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly config?: ContainerDefaults;
  readonly rootfs: { readonly type: 'layers'; readonly diff_ids: readonly Digest[] };
  readonly history?: readonly HistoryEntry[];
}

export interface ContainerDefaults {
  readonly User?: string;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly WorkingDir?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
  readonly ArgsEscaped?: boolean;
  readonly Healthcheck?: Healthcheck;
  readonly OnBuild?: readonly string[];
  readonly Shell?: readonly string[];
}

export interface Healthcheck {
  readonly Test?: readonly string[];
  readonly Interval?: number;
  readonly Timeout?: number;
  readonly StartPeriod?: number;
  readonly StartInterval?: number;
  readonly Retries?: number;
}

export interface HistoryEntry {
  readonly created?: string;
  readonly created_by?: string;
  readonly author?: string;
  readonly comment?: string;
  readonly empty_layer?: boolean;
}

/** A manifest of more is refused by every registry that matters. */
export const maxManifestBytes: number = 4 << 20;
/** A config is read whole; real ones have some kilobytes. */
export const maxConfigBytes: number = 8 << 20;
/** overlayfs stacks no more lower directories (fs/overlayfs: OVL_MAX_STACK). */
export const maxLayers = 500;

const flag: Shape<boolean> = (value, at) => {
  if (typeof value !== 'boolean') at.wrong(value, 'true or false');
  return value as boolean;
};
const digest: Shape<Digest> = (value, at) => {
  if (!isDigest(value)) at.wrong(value, 'a digest (sha256: and 64 lower-case hexadecimal digits)');
  return value as Digest;
};
/** Words that end up in messages and file names' places: nothing that a terminal would obey. */
const typeName = matching(/^[\w.+!#$&^-]{1,127}\/[\w.+!#$&^-]{1,127}$/, 'a media type');
const word = matching(/^[\w.-]{0,64}$/, 'a word of letters, digits, dots, underscores and hyphens');
const size = integer(0, Number.MAX_SAFE_INTEGER);
const nanoseconds = integer(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
/** A Go `struct{}`: whatever it holds says nothing. */
const presence: Shape<object> = () => Object.freeze({});
const texts = list(text);
const annotations = record(text);

const platform = object<DescriptorPlatform>('image-index.md', {
  os: required(word),
  architecture: required(word),
  variant: optionalText(word),
});

const descriptor = object<Descriptor>('descriptor.md', {
  mediaType: required(typeName),
  digest: required(digest),
  size: required(size),
  urls: optional(texts),
  annotations: optional(annotations),
  platform: optional(platform),
});

const manifest = object<Omit<Manifest, 'mediaType'> & { schemaVersion: number; mediaType?: string }>('manifest.md', {
  schemaVersion: required(integer(2, 2)),
  mediaType: optionalText(typeName),
  config: required(descriptor),
  layers: required(list(descriptor, { max: maxLayers })),
  annotations: optional(annotations),
});

const index = object<Omit<Index, 'mediaType'> & { schemaVersion: number; mediaType?: string }>('image-index.md', {
  schemaVersion: required(integer(2, 2)),
  mediaType: optionalText(typeName),
  manifests: required(list(descriptor)),
  annotations: optional(annotations),
});

const healthcheck = object<Healthcheck>('', {
  Test: optional(texts),
  Interval: optional(nanoseconds),
  Timeout: optional(nanoseconds),
  StartPeriod: optional(nanoseconds),
  StartInterval: optional(nanoseconds),
  Retries: optional(nanoseconds),
});

const defaults = object<ContainerDefaults>('config.md', {
  User: optionalText(text),
  ExposedPorts: optional(record(presence)),
  Env: optional(texts),
  Entrypoint: optional(texts),
  Cmd: optional(texts),
  Volumes: optional(record(presence)),
  WorkingDir: optionalText(text),
  Labels: optional(record(text)),
  StopSignal: optionalText(text),
  ArgsEscaped: optional(flag),
  Healthcheck: optional(healthcheck),
  OnBuild: optional(texts),
  Shell: optional(texts),
});

const history = object<HistoryEntry>('config.md', {
  created: optionalText(text),
  created_by: optionalText(text),
  author: optionalText(text),
  comment: optionalText(text),
  empty_layer: optional(flag),
});

const imageConfig = object<Omit<ImageConfig, 'os' | 'architecture'> & { os?: string; architecture?: string }>(
  'config.md',
  {
    created: optionalText(text),
    author: optionalText(text),
    os: optionalText(word),
    architecture: optionalText(word),
    variant: optionalText(word),
    config: optional(defaults),
    rootfs: required(
      object<ImageConfig['rootfs']>('config.md', {
        type: required(oneOf(['layers'])),
        diff_ids: required(list(digest, { max: maxLayers })),
      }),
    ),
    history: optional(list(history)),
  },
);

/** Parses a manifest or an index; `mediaType` is what the registry or the descriptor said it is. `what` begins each error's message. */
export function parseManifest(
  bytes: Uint8Array,
  mediaType: string | undefined,
  what: string,
): { kind: 'manifest'; manifest: Manifest } | { kind: 'index'; index: Index } {
  const value = parseJson(bytes, what);
  if (typeof value !== 'object') read(manifest, value, what);
  const found = (value ?? {}) as {
    mediaType?: unknown;
    schemaVersion?: unknown;
    manifests?: unknown;
    fsLayers?: unknown;
  };
  // Without a media type of its own, an OCI document is what it was announced as, or what it looks like.
  const own = typeof found.mediaType === 'string' && found.mediaType !== '' ? found.mediaType : undefined;
  const guessed = Array.isArray(found.manifests) ? mediaTypes.ociIndex : mediaTypes.ociManifest;
  const announced = mediaType !== undefined && kindOf(mediaType) !== undefined ? mediaType : undefined;
  const type = own ?? announced ?? guessed;
  const kind = kindOf(type);
  if (kind === 'schema1' || found.schemaVersion === 1 || found.fsLayers !== undefined) {
    throw new KeelsonError(
      'unsupported',
      `${what}: is in Docker's manifest format version 1, which was withdrawn: push the image again with a current tool`,
    );
  }
  // The same bytes must not be read as an index by one tool and as a manifest by the next (CVE-2021-41190).
  if (own !== undefined && announced !== undefined && kindOf(announced) !== kind) {
    throw new KeelsonError('corrupt', `${what}: says that it is ${quoted(own)}, but was announced as ${announced}`);
  }
  if (kind === 'index') {
    if ('layers' in found || 'config' in found) throw bothKinds(what);
    return { kind, index: { ...read(index, value, what), mediaType: type } };
  }
  if (kind === 'manifest') {
    if ('manifests' in found) throw bothKinds(what);
    return { kind, manifest: checked({ ...read(manifest, value, what), mediaType: type }, what) };
  }
  throw new KeelsonError('unsupported', `${what}: media type ${quoted(type)} is not that of an image`);
}

/** An index that is parsed already: index.json of an image layout. */
export function parseIndex(value: unknown, what: string): Index {
  return { ...read(index, value, what), mediaType: mediaTypes.ociIndex };
}

/** The specification wants os and architecture; images without are about, and docker takes them. */
export function parseImageConfig(bytes: Uint8Array, what: string): ImageConfig {
  const { os = 'linux', architecture = '', ...rest } = read(imageConfig, parseJson(bytes, what), what);
  return { ...rest, os, architecture };
}

/** Parses UTF-8 JSON. */
export function parseJson(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new KeelsonError('corrupt', `${what}: is not JSON (${(cause as Error).message.slice(0, 200)})`, { cause });
  }
}

/** Reads a document by its shape; throws `corrupt` for the first thing that is wrong. */
export function read<T>(shape: Shape<T>, value: unknown, what: string): T {
  const problems: Problem[] = [];
  const result = shape(value, new At('', '', problems));
  const [first] = problems;
  if (first === undefined) return result;
  const where = first.path === '' ? '' : `${first.path}: `;
  const section = first.section === '' ? '' : ` (image-spec, ${first.section})`;
  throw new KeelsonError('corrupt', `${what}: ${where}${first.message}${section}`, { details: { problems } });
}

function checked(found: Manifest, what: string): Manifest {
  if (kindOf(found.config.mediaType) !== 'config') {
    const type = found.config.mediaType;
    throw new KeelsonError('unsupported', `${what}: is not an image: its config is of type ${type}`);
  }
  for (const [i, layer] of found.layers.entries()) {
    const kind = kindOf(layer.mediaType);
    if (kind !== 'layer' && kind !== 'foreign-layer') {
      throw new KeelsonError(
        'unsupported',
        `${what}: layers[${i}] is of type ${layer.mediaType}, which is not an image's layer`,
      );
    }
  }
  return found;
}

function quoted(found: string): string {
  return JSON.stringify(found.slice(0, 200));
}

function bothKinds(what: string): KeelsonError {
  return new KeelsonError('corrupt', `${what}: is both an image manifest and an index`);
}
