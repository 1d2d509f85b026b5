/** `algorithm:hex` of the OCI image-spec (descriptor.md, "Digests"): a content address. Told from other text by isDigest. */
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
