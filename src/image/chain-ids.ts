import { createHash } from '../ground/crypto.ts';
import type { Digest } from '../spec/digest.ts';

/**
 * The chain id of each layer, from the bottom up (OCI image-spec, config.md, "Layer ChainID"): names the file system that a layer and all below it make,
 * and so one unpacked layer among those with the same content but other parents.
 */
export function chainIds(diffIds: readonly Digest[]): Digest[] {
  const chain: Digest[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(below === undefined ? diffId : sha256(`${below} ${diffId}`));
  }
  return chain;
}

function sha256(text: string): Digest {
  return `sha256:${createHash('sha256').update(text).digest('hex')}`;
}
