/** The image layer's own types, shared upwards. Wire types (manifests, configs) are in spec/image.ts. */

/** OCI image-spec platform: GOOS, GOARCH and variant words. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

/** An image as `images` lists it. */
export interface ImageSummary {
  /** Digest of the config, `sha256:…`. */
  readonly id: string;
  /** Normalised `registry/repository:tag`. */
  readonly tags: readonly string[];
  /** `registry/repository@sha256:…` */
  readonly digests: readonly string[];
  /** Milliseconds since the epoch; 0 where the config says nothing. */
  readonly createdAt: number;
  /** Unpacked bytes of all layers. */
  readonly size: number;
  readonly labels: Readonly<Record<string, string>>;
}
