import { KeelsonError } from '../ground/errors.ts';

/** `algorithm:hex` of the OCI image-spec (descriptor.md, "Digests"): a content address. Made by parseDigest or hashing only. */
export type Digest = `${DigestAlgorithm}:${string}`;

/** The registered algorithms. */
export type DigestAlgorithm = 'sha256' | 'sha512';

const hexLength: Record<DigestAlgorithm, number> = { sha256: 64, sha512: 128 };

/** True for a registered algorithm followed by exactly its count of lower-case hexadecimal digits: safe as a file's name. */
export function isDigest(text: unknown): text is Digest {
  if (typeof text !== 'string') return false;
  const match = /^(sha256|sha512):([0-9a-f]+)$/.exec(text);
  return match !== null && match[2]?.length === hexLength[match[1] as DigestAlgorithm];
}

/** `what` begins the message: "layers[2].digest". Throws `invalid-argument`. */
export function parseDigest(text: unknown, what: string): Digest {
  if (isDigest(text)) return text;
  throw new KeelsonError(
    'invalid-argument',
    `${what}: ${JSON.stringify(text)?.slice(0, 200)} is not a digest (sha256: and 64, or sha512: and 128 lower-case hexadecimal digits)`,
  );
}

export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.slice(0, digest.indexOf(':')) as DigestAlgorithm;
}

export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/** The twelve digits that people see. */
export function shortDigest(digest: Digest): string {
  return hexOf(digest).slice(0, 12);
}
