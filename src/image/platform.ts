import { KeelsonError } from '../ground/errors.ts';
import type { Descriptor } from '../spec/image.ts';
import type { Platform } from './types.ts';

/** This machine's, as Go names it. */
export function hostPlatform(): Platform {
  return normalise({ os: 'linux', architecture: process.arch === 'ia32' ? '386' : process.arch });
}

/** Parses `os/arch[/variant]`, `arch` or `os`; what is left out is this machine's. Spellings as containerd's (x86_64, aarch64, armhf, …). */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/');
  if (parts.length > 3 || !parts.every((part) => /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(part))) {
    throw new KeelsonError(
      'invalid-argument',
      `${JSON.stringify(text)} is not a platform: os/architecture[/variant] is expected, such as linux/arm64`,
    );
  }
  const [first = '', second, variant] = parts;
  if (second !== undefined) {
    return normalise({ os: first, architecture: second, ...(variant !== undefined && { variant }) });
  }
  const host = hostPlatform();
  return knownOs.has(normaliseOs(first))
    ? { ...host, os: normaliseOs(first) }
    : normalise({ os: host.os, architecture: first });
}

/** `linux/arm/v7` */
export function formatPlatform(platform: Platform): string {
  return [platform.os, platform.architecture, ...(platform.variant ? [platform.variant] : [])].join('/');
}

const knownOs = new Set([
  'linux',
  'windows',
  'darwin',
  'freebsd',
  'netbsd',
  'openbsd',
  'solaris',
  'aix',
  'plan9',
  'wasip1',
  'js',
]);

const spellings: Record<string, { architecture: string; variant?: string }> = {
  i386: { architecture: '386' },
  i686: { architecture: '386' },
  x64: { architecture: 'amd64' },
  x86_64: { architecture: 'amd64' },
  'x86-64': { architecture: 'amd64' },
  aarch64: { architecture: 'arm64' },
  armhf: { architecture: 'arm', variant: 'v7' },
  armel: { architecture: 'arm', variant: 'v6' },
};

/** One spelling for each platform; the variant that an architecture implies is left out (amd64/v1, arm64/v8), but for arm, whose is v7. */
export function normalise(platform: Platform): Platform {
  const os = normaliseOs(platform.os);
  const given = platform.architecture.toLowerCase();
  const { architecture, variant: implied } = spellings[given] ?? { architecture: given, variant: undefined };
  let variant = (implied ?? platform.variant ?? '').toLowerCase();
  if (/^\d/.test(variant)) variant = `v${variant}`;
  if (architecture === 'arm' && variant === '') variant = 'v7';
  if (architecture === 'arm64' && (variant === 'v8' || variant === 'v8.0')) variant = '';
  if (architecture === 'amd64' && variant === 'v1') variant = '';
  if (architecture === '386') variant = '';
  return { os, architecture, ...(variant !== '' && { variant }) };
}

function normaliseOs(os: string): string {
  const lower = os.toLowerCase();
  return lower === 'macos' ? 'darwin' : lower;
}

/**
 * What a machine of this platform can run, best first, as containerd orders it: amd64/v3 runs v2, v1 and 386; arm64 runs
 * 32-bit arm from v8 down; arm/v7 runs v6 and v5.
 */
export function runnable(platform: Platform): Platform[] {
  const { os, architecture, variant } = normalise(platform);
  const level = Number(/^v(\d+)/.exec(variant ?? '')?.[1] ?? 0);
  const arms = (from: number): Platform[] =>
    [8, 7, 6, 5].filter((n) => n <= from).map((n) => ({ os, architecture: 'arm', variant: `v${n}` }));
  switch (architecture) {
    case 'amd64': {
      const lower = [4, 3, 2].filter((n) => n <= level).map((n) => ({ os, architecture, variant: `v${n}` }));
      return [...lower, { os, architecture }, { os, architecture: '386' }];
    }
    case 'arm64':
      return [...(variant ? [{ os, architecture, variant }] : []), { os, architecture }, ...arms(8)];
    case 'arm':
      return arms(level);
    default:
      return [{ os, architecture, ...(variant && { variant }) }];
  }
}

/** Position of `candidate` among what `wanted` can run; undefined when it can't. */
export function rank(wanted: Platform, candidate: Platform): number | undefined {
  const is = formatPlatform(normalise(candidate));
  const at = runnable(wanted).findIndex((one) => formatPlatform(one) === is);
  return at < 0 ? undefined : at;
}

/** An entry that describes another one (BuildKit's provenance and SBOM), never an image to run. */
export function isAttestation(entry: Descriptor): boolean {
  return (
    entry.annotations?.['vnd.docker.reference.type'] === 'attestation-manifest' ||
    (entry.platform?.os === 'unknown' && entry.platform.architecture === 'unknown')
  );
}

/**
 * The entry of an index for this platform: the best that it can run, the first among equals; one that tells no platform only when no other fits.
 * `of` names the index in the error, which lists what it has.
 */
export function pickManifest(entries: readonly Descriptor[], wanted: Platform, of: string): Descriptor {
  const images = entries.filter((entry) => !isAttestation(entry));
  let best: { entry: Descriptor; at: number } | undefined;
  for (const entry of images) {
    const at = entry.platform ? rank(wanted, entry.platform) : Number.MAX_SAFE_INTEGER;
    if (at !== undefined && (best === undefined || at < best.at)) best = { entry, at };
  }
  if (best) return best.entry;
  const has = [...new Set(images.map((entry) => (entry.platform ? formatPlatform(entry.platform) : 'unknown')))];
  throw new KeelsonError(
    'not-found',
    `no matching manifest for ${formatPlatform(wanted)} in ${of}: it has ${has.slice(0, 20).join(', ') || 'no images'}`,
  );
}
