import type { Context } from '../ground/context.ts';
import type { RootSource } from '../runtime/rootfs.ts';
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

/** What a container's root is made of: an image's layers, lowest first, or the machine's own root. */
export type ContainerBase = { readonly kind: 'image'; readonly chain: readonly Digest[] } | { readonly kind: 'host' };

/** One difference between a container and what it was made of. Paths begin with a slash. */
export interface Change {
  readonly path: string;
  readonly kind: 'added' | 'modified' | 'deleted';
}

export interface Usage {
  /** Bytes of regular files. */
  readonly size: number;
  readonly inodes: number;
}

/**
 * Unpacked layers and the containers' roots made of them. One driver each: overlay (one directory a layer, stacked by overlayfs), native (the same
 * directories, copied together for each container). Callers hold the lease `chain:<id>` of a layer that is made or removed, and the container's.
 */
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
  /** As counted when it was unpacked. Throws `not-found`. */
  usage(chainId: Digest): Promise<Usage>;
  /** Removes what processes that died in the middle of `prepareLayer`, `containerRoot` or a removal have left. */
  sweep(): Promise<void>;

  /**
   * A container's root, ready to be mounted; what it has written is there again at each later call, until `removeContainer`. Throws
   * `not-found` when a layer isn't there.
   */
  containerRoot(context: Context, container: string, base: ContainerBase): Promise<RootSource>;
  /** What `containerRoot` would return; makes nothing. */
  previewRoot(container: string, base: ContainerBase): Promise<RootSource>;
  /** No error when there is nothing. The container must not be running. */
  removeContainer(container: string): Promise<void>;
  /** Ids of all containers that have a root. */
  containers(): Promise<string[]>;
  /** What the container has written, counted now. */
  containerUsage(context: Context, container: string): Promise<Usage>;
  /** Differences to the base, sorted by path. Empty mount points that starting a container makes don't count. */
  changes(context: Context, container: string, base: ContainerBase): Promise<Change[]>;
  /** The same as an OCI layer: a plain tar stream. */
  changedFiles(context: Context, container: string, base: ContainerBase): AsyncIterable<Uint8Array>;
}

/** The same, by the name that those who make containers know it. */
export type ContainerSnapshotter = Snapshotter;
