import { KeelsonError } from '../ground/errors.ts';
import { type Digest, isDigest } from '../spec/digest.ts';

/**
 * An image reference by Docker's grammar (github.com/distribution/reference), normalised: `alpine` is docker.io/library/alpine:latest.
 *
 *     reference      = name [ ":" tag ] [ "@" digest ]
 *     name           = [ domain "/" ] path-component *( "/" path-component )
 */
export interface Reference {
  /** Host and port of the registry: `docker.io`, `localhost:5000`, `[::1]:5000`. */
  readonly domain: string;
  /** Repository in it: `library/alpine`. */
  readonly path: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

const domainComponent = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domainName = `${domainComponent}(?:\\.${domainComponent})*`;
const domain = `(?:${domainName}|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
const pathComponent = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const path = `${pathComponent}(?:/${pathComponent})*`;
const tag = '[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}';
const digest = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';
const grammar = new RegExp(`^(${domain})/(${path})(?::(${tag}))?(?:@(${digest}))?$`);

/** Of the whole name, without tag and digest. */
const maxNameLength = 255;
const defaultDomain = 'docker.io';

/** `host` is no image: it is the machine's own root file system (see DESIGN.md, section 4). `host:latest` and `library/host` are images. */
export function isHostReference(text: string): boolean {
  return text === 'host';
}

/** Parses what a user types. Without tag and digest the tag is `latest`, unless `bare` says to leave it out. */
export function parseReference(text: string, options: { bare?: boolean } = {}): Reference {
  if (text === '') throw invalid('repository name must have at least one component');
  // Longer than any valid one; bounds the regular expression's work.
  if (text.length > 1024) throw invalid(`a reference of ${text.length} characters is too long`);
  if (/^[a-f0-9]{64}$/.test(text)) {
    throw invalid(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`, '');
  }
  const [host, rest] = splitDomain(text);
  const repository = rest.split(/[:@]/, 1)[0] ?? '';
  if (repository !== repository.toLowerCase()) throw invalid(`repository name (${repository}) must be lowercase`);
  const match = grammar.exec(`${host}/${rest}`);
  if (!match) throw invalid(JSON.stringify(text));
  const [, , name = '', tagged, digested] = match;
  if (host.length + 1 + name.length > maxNameLength) {
    throw invalid(`repository name must not be more than ${maxNameLength} characters`);
  }
  if (digested !== undefined && !isDigest(digested)) throw invalid(`${digested}: unsupported or invalid digest`);
  const latest = tagged === undefined && digested === undefined && options.bare !== true ? 'latest' : tagged;
  return {
    domain: host,
    path: name,
    ...(latest !== undefined && { tag: latest }),
    ...(digested !== undefined && { digest: digested }),
  };
}

/** `docker.io/library/alpine`, without tag and digest. */
export function repositoryOf(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

/** The normalised form, which parses to the same reference: what the store keeps. */
export function formatReference(reference: Reference): string {
  const tagged = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digested = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${repositoryOf(reference)}${tagged}${digested}`;
}

/** As users see it: without `docker.io/` and `library/`. Takes a normalised reference with or without tag. */
export function familiarReference(reference: Reference | string): string {
  const text = typeof reference === 'string' ? reference : formatReference(reference);
  if (!text.startsWith(`${defaultDomain}/`)) return text;
  const short = text.slice(defaultDomain.length + 1);
  const official = short.startsWith('library/') ? short.slice('library/'.length) : short;
  // `library/a/b` must keep its prefix, else it would parse as a user's repository.
  return official.includes('/') ? short : official;
}

/** The first component is a registry when it looks like one: a dot, a port, an upper-case letter, or `localhost`. */
function splitDomain(text: string): [domain: string, rest: string] {
  const slash = text.indexOf('/');
  const first = slash < 0 ? '' : text.slice(0, slash);
  const isDomain = first === 'localhost' || /[.:]/.test(first) || first !== first.toLowerCase();
  const host = isDomain && first !== 'index.docker.io' && first !== '' ? first : defaultDomain;
  const rest = isDomain ? text.slice(slash + 1) : text;
  const repository = rest.split('@', 1)[0] ?? '';
  return host === defaultDomain && !repository.includes('/') ? [host, `library/${rest}`] : [host, rest];
}

function invalid(why: string, prefix = 'invalid reference format: '): KeelsonError {
  return new KeelsonError('invalid-argument', `${prefix}${why}`);
}
