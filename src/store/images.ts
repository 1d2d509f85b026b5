import type { Digest } from '../spec/digest.ts';
import type { Database } from './database.ts';
import { isAlive, ownIdentity } from './process-identity.ts';

/**
 * `images`: by the digest of the config. `local` = its manifest was made here, its layers may be compressed for a push. `removed` = untagged by force while a container uses it: goes when the container does.
 * `image_layers`: from the bottom up. `size` is that of the blob, `unpacked` that of its files.
 * `image_names`: normalised `registry/repository:tag` or `registry/repository@digest`.
 * `blob_sources`: repositories that are known to hold a blob, for mounting it across repositories on push.
 * `layer_variants`: a plain layer and what it was compressed to, so that every push sends the same bytes.
 * `content_holds`: what a process is working with though no image has it yet; `key` is a blob's or a chain's digest.
 */
export const imagesSchema = `
  CREATE TABLE images (
    id TEXT PRIMARY KEY,
    manifest TEXT NOT NULL,
    manifest_type TEXT NOT NULL,
    os TEXT NOT NULL,
    architecture TEXT NOT NULL,
    variant TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    added_at INTEGER NOT NULL,
    labels TEXT NOT NULL DEFAULT '{}',
    local INTEGER NOT NULL DEFAULT 0,
    removed INTEGER NOT NULL DEFAULT 0
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE image_layers (
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    diff_id TEXT NOT NULL,
    chain_id TEXT NOT NULL,
    unpacked INTEGER NOT NULL,
    PRIMARY KEY (image_id, position)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX images_manifest ON images (manifest);
  CREATE INDEX image_layers_digest ON image_layers (digest);
  CREATE INDEX image_layers_chain ON image_layers (chain_id);
  CREATE TABLE image_names (
    name TEXT PRIMARY KEY,
    image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    tagged_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX image_names_image ON image_names (image_id);
  CREATE TABLE blob_sources (
    digest TEXT NOT NULL,
    repository TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (digest, repository)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE layer_variants (
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    variant TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (digest, media_type)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE content_holds (
    key TEXT NOT NULL,
    token TEXT NOT NULL,
    pid INTEGER NOT NULL,
    start INTEGER NOT NULL,
    boot TEXT NOT NULL,
    PRIMARY KEY (key, token)
  ) STRICT, WITHOUT ROWID;
`;

export interface ImageRow {
  readonly id: Digest;
  readonly manifest: Digest;
  readonly manifestType: string;
  readonly os: string;
  readonly architecture: string;
  readonly variant: string;
  /** Milliseconds since the epoch; 0 where the config says nothing. */
  readonly createdAt: number;
  readonly addedAt: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly local: boolean;
}

export interface LayerRow {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  readonly diffId: Digest;
  readonly chainId: Digest;
  readonly unpacked: number;
}

type StoredImage = Omit<ImageRow, 'labels' | 'local'> & { labels: string; local: number };

const imageColumns =
  'id, manifest, manifest_type AS manifestType, os, architecture, variant, created_at AS createdAt, added_at AS addedAt, labels, local';

/** The images' tables. Single statements; what belongs together goes into `db.immediate`. */
export class ImageTables {
  readonly db: Database;

  constructor(db: Database) {
    this.db = db;
  }

  /** Writes the image and its layers, or renews them (another manifest of the same config). Brings a removed one back. */
  put(image: ImageRow, layers: readonly LayerRow[]): void {
    this.db.immediate(() => {
      this.db.run(
        `INSERT INTO images (id, manifest, manifest_type, os, architecture, variant, created_at, added_at, labels, local)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET manifest = excluded.manifest, manifest_type = excluded.manifest_type,
           local = excluded.local, removed = 0`,
        ...[image.id, image.manifest, image.manifestType, image.os, image.architecture, image.variant],
        ...[image.createdAt, image.addedAt, JSON.stringify(image.labels), image.local],
      );
      this.db.run('DELETE FROM image_layers WHERE image_id = ?', image.id);
      for (const [position, layer] of layers.entries()) {
        this.db.run(
          `INSERT INTO image_layers (image_id, position, digest, media_type, size, diff_id, chain_id, unpacked)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
          ...[
            image.id,
            position,
            layer.digest,
            layer.mediaType,
            layer.size,
            layer.diffId,
            layer.chainId,
            layer.unpacked,
          ],
        );
      }
    });
  }

  get(id: string): ImageRow | undefined {
    const row = this.db.get<StoredImage>(`SELECT ${imageColumns} FROM images WHERE id = ? AND removed = 0`, id);
    return row && revive(row);
  }

  /** Also of an image that is removed but in use. */
  manifestOf(id: string): Digest | undefined {
    return this.db.get<{ manifest: Digest }>('SELECT manifest FROM images WHERE id = ?', id)?.manifest;
  }

  /** Newest first. */
  all(): ImageRow[] {
    const rows = this.db.all<StoredImage>(
      `SELECT ${imageColumns} FROM images WHERE removed = 0 ORDER BY created_at DESC, id`,
    );
    return rows.map(revive);
  }

  /** Those whose id's digits begin so; at most two, which is enough to tell that it is ambiguous. */
  byPrefix(hex: string): Digest[] {
    const prefix = `sha256:${hex}`;
    const rows = this.db.all<{ id: Digest }>(
      'SELECT id FROM images WHERE removed = 0 AND id >= ? AND id < ? ORDER BY id LIMIT 2',
      ...[prefix, `${prefix}g`],
    );
    return rows.map(({ id }) => id);
  }

  /** From the bottom up. Also of an image that is removed but in use. */
  layers(id: string): LayerRow[] {
    return this.db.all<LayerRow>(
      `SELECT digest, media_type AS mediaType, size, diff_id AS diffId, chain_id AS chainId, unpacked
       FROM image_layers WHERE image_id = ? ORDER BY position`,
      id,
    );
  }

  /** Names of one image, or of all, in their order. */
  names(id?: string): { name: string; imageId: Digest; taggedAt: number }[] {
    const columns = 'name, image_id AS imageId, tagged_at AS taggedAt';
    return id === undefined
      ? this.db.all(`SELECT ${columns} FROM image_names ORDER BY name`)
      : this.db.all(`SELECT ${columns} FROM image_names WHERE image_id = ? ORDER BY name`, id);
  }

  byName(name: string): Digest | undefined {
    return this.db.get<{ id: Digest }>('SELECT image_id AS id FROM image_names WHERE name = ?', name)?.id;
  }

  /** Points the name at the image, away from whichever it named before. */
  name(name: string, id: string): void {
    this.db.run(
      `INSERT INTO image_names (name, image_id, tagged_at) VALUES (?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET image_id = excluded.image_id, tagged_at = excluded.tagged_at`,
      ...[name, id, Date.now()],
    );
  }

  unname(name: string): boolean {
    return this.db.run('DELETE FROM image_names WHERE name = ?', name) > 0;
  }

  delete(id: string): void {
    this.db.run('DELETE FROM image_names WHERE image_id = ?', id);
    this.db.run('DELETE FROM image_layers WHERE image_id = ?', id);
    this.db.run('DELETE FROM images WHERE id = ?', id);
  }

  /** Takes the image out of every list, but keeps its layers. */
  hide(id: string): void {
    this.db.run('DELETE FROM image_names WHERE image_id = ?', id);
    this.db.run('UPDATE images SET removed = 1 WHERE id = ?', id);
  }

  hidden(): Digest[] {
    return this.db.all<{ id: Digest }>('SELECT id FROM images WHERE removed = 1').map(({ id }) => id);
  }

  /** Every blob that an image needs: configs, manifests, layers and what they were compressed to. */
  blobsInUse(): Set<string> {
    const rows = this.db.all<{ digest: string }>(
      `SELECT id AS digest FROM images UNION SELECT manifest FROM images UNION SELECT digest FROM image_layers
       UNION SELECT variant FROM layer_variants WHERE digest IN (SELECT digest FROM image_layers)
       UNION SELECT key FROM content_holds`,
    );
    return new Set(rows.map(({ digest }) => digest));
  }

  chainsInUse(): Set<string> {
    const rows = this.db.all<{ chain: string }>(
      'SELECT chain_id AS chain FROM image_layers UNION SELECT key FROM content_holds',
    );
    return new Set(rows.map(({ chain }) => chain));
  }

  /** Whether an image or a working process needs this blob or layer. Of processes that died, see `held`. */
  isNeeded(digest: string): boolean {
    const found = this.db.get(
      `SELECT 1 FROM images WHERE id = ?1 OR manifest = ?1
       UNION ALL SELECT 1 FROM image_layers WHERE digest = ?1 UNION ALL SELECT 1 FROM image_layers WHERE chain_id = ?1
       UNION ALL SELECT 1 FROM layer_variants WHERE variant = ?1 AND digest IN (SELECT digest FROM image_layers)
       UNION ALL SELECT 1 FROM content_holds WHERE key = ?1 LIMIT 1`,
      digest,
    );
    return found !== undefined;
  }

  /** What an image's record says of a layer. */
  unpackedSize(chainId: string): number | undefined {
    return this.db.get<{ size: number }>(
      'SELECT unpacked AS size FROM image_layers WHERE chain_id = ? LIMIT 1',
      chainId,
    )?.size;
  }

  /** Bytes of all layers and of all layers' blobs, each counted once. */
  diskUsage(): { layers: number; blobs: number } {
    const total = (sql: string): number => this.db.get<{ bytes: number }>(sql)?.bytes ?? 0;
    return {
      layers: total('SELECT TOTAL(unpacked) AS bytes FROM (SELECT DISTINCT chain_id, unpacked FROM image_layers)'),
      blobs: total('SELECT TOTAL(size) AS bytes FROM (SELECT DISTINCT digest, size FROM image_layers)'),
    };
  }

  /** Bytes of all layers of each image. */
  unpackedSizes(): Map<string, number> {
    const rows = this.db.all<{ id: string; size: number }>(
      'SELECT image_id AS id, SUM(unpacked) AS size FROM image_layers GROUP BY image_id',
    );
    return new Map(rows.map(({ id, size }) => [id, size]));
  }

  addSource(digest: string, repository: string): void {
    this.db.run(
      `INSERT INTO blob_sources (digest, repository, seen_at) VALUES (?, ?, ?)
       ON CONFLICT (digest, repository) DO UPDATE SET seen_at = excluded.seen_at`,
      ...[digest, repository, Date.now()],
    );
  }

  /** Where a blob was seen, the latest first. */
  sources(digest: string): string[] {
    const rows = this.db.all<{ repository: string }>(
      'SELECT repository FROM blob_sources WHERE digest = ? ORDER BY seen_at DESC LIMIT 16',
      digest,
    );
    return rows.map(({ repository }) => repository);
  }

  addVariant(digest: string, mediaType: string, variant: Digest, size: number): void {
    this.db.run(
      'INSERT OR REPLACE INTO layer_variants (digest, media_type, variant, size) VALUES (?, ?, ?, ?)',
      ...[digest, mediaType, variant, size],
    );
  }

  variant(digest: string, mediaType: string): { variant: Digest; size: number } | undefined {
    return this.db.get(
      'SELECT variant, size FROM layer_variants WHERE digest = ? AND media_type = ?',
      digest,
      mediaType,
    );
  }

  variants(digest: string): Digest[] {
    const rows = this.db.all<{ variant: Digest }>('SELECT variant FROM layer_variants WHERE digest = ?', digest);
    return rows.map(({ variant }) => variant);
  }

  /** What only concerned blobs that are gone. */
  forgetBlobs(digests: readonly string[]): void {
    this.db.immediate(() => {
      for (const digest of digests) {
        this.db.run('DELETE FROM blob_sources WHERE digest = ?', digest);
        this.db.run('DELETE FROM layer_variants WHERE digest = ? OR variant = ?', digest, digest);
      }
    });
  }

  hold(token: string, keys: readonly string[]): void {
    const { pid, start, boot } = ownIdentity();
    this.db.immediate(() => {
      for (const key of keys) {
        this.db.run(
          'INSERT OR IGNORE INTO content_holds (key, token, pid, start, boot) VALUES (?, ?, ?, ?, ?)',
          ...[key, token, pid, start, boot],
        );
      }
    });
  }

  release(token: string): void {
    this.db.run('DELETE FROM content_holds WHERE token = ?', token);
  }

  /** What living processes work with; the holds of dead ones are dropped. `lost`: there were such. */
  held(): { keys: Set<string>; lost: boolean } {
    return this.db.immediate(() => {
      const owners = this.db.all<{ pid: number; start: number; boot: string }>(
        'SELECT DISTINCT pid, start, boot FROM content_holds',
      );
      const dead = owners.filter((owner) => !isAlive(owner));
      for (const { pid, start, boot } of dead) {
        this.db.run('DELETE FROM content_holds WHERE pid = ? AND start = ? AND boot = ?', pid, start, boot);
      }
      const rows = this.db.all<{ key: string }>('SELECT DISTINCT key FROM content_holds');
      return { keys: new Set(rows.map(({ key }) => key)), lost: dead.length > 0 };
    });
  }
}

function revive(row: StoredImage): ImageRow {
  return { ...row, labels: JSON.parse(row.labels) as Record<string, string>, local: row.local === 1 };
}
