import type { Context } from '../ground/context.ts';
import type { Digest } from '../spec/digest.ts';

/** One layer to be unpacked. */
export interface LayerSource {
  readonly chainId: Digest;
  /** Chain id of the layer below; absent for the lowest. */
  readonly parent?: Digest;
  /** Digest of the uncompressed tar stream: the unpacker computes it, and a layer whose stream has another is not kept. */
  readonly diffId: Digest;
  /** The blob's file: a tar stream, plain, gzip or zstd, told apart by its first bytes. Its own digest is verified already. */
  readonly blob: string;
  /** Begins each error: "unpacking layer 0123456789ab". */
  readonly doing: string;
  /** Bytes of the blob that are done. */
  readonly progress?: (current: number) => void;
}

/** One driver each: overlay (one directory a layer), native (a whole copy of all layers up to this one). Callers hold the lease `chain:<id>`. */
export interface Snapshotter {
  readonly name: string;
  /** A layer can only be unpacked when its parent is there. */
  readonly needsParent: boolean;
  has(chainId: Digest): Promise<boolean>;
  /** Unpacks a layer: whole and durable when it returns, not there when it throws. Returns the bytes of its files. */
  prepareLayer(context: Context, layer: LayerSource): Promise<{ readonly size: number }>;
  /** No error when it isn't there. */
  remove(chainId: Digest): Promise<void>;
  list(): Promise<Digest[]>;
  /** Bytes and inodes on disk. */
  usage(chainId: Digest): Promise<{ readonly size: number; readonly inodes: number }>;
  /** Removes what processes that died in the middle of `prepareLayer` or `remove` have left. */
  sweep(): Promise<void>;
}
