import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Context, type ProgressEvent } from '../../src/ground/context.ts';
import { CredentialStore } from '../../src/image/credentials.ts';
import type { ImageUser } from '../../src/image/image-backend.ts';
import { Images } from '../../src/image/images.ts';
import { OverlaySnapshotter } from '../../src/image/snapshot-overlay.ts';
import type { Snapshotter } from '../../src/image/snapshotter.ts';
import { Keel } from '../../src/kernel/keel.ts';
import type { RegistriesSettings } from '../../src/spec/settings.ts';
import type { Database } from '../../src/store/database.ts';
import { Leases } from '../../src/store/leases.ts';
import { openStore } from '../../src/store/store.ts';

export interface TestImages extends AsyncDisposable {
  readonly images: Images;
  readonly root: string;
  readonly db: Database;
  readonly snapshotter: Snapshotter;
  readonly context: Context;
  /** What `context` was told. */
  readonly events: ProgressEvent[];
  /** Containers by the id of their image: what the engine would say. */
  readonly users: Map<string, ImageUser[]>;
  /** What is on disk beyond the database: blobs, unfinished ones, layers. */
  left(): Promise<{ blobs: number; unfinished: number; layers: number }>;
}

/** Images in a data root of their own, or in `root`, which then stays. */
export async function openImages(
  options: { root?: string; settings?: RegistriesSettings; configPath?: string; silenceMs?: number } = {},
): Promise<TestImages> {
  const root = options.root ?? (await mkdtemp(join(tmpdir(), 'keelson-images-')));
  await mkdir(root, { recursive: true });
  const db = openStore({ root });
  const users = new Map<string, ImageUser[]>();
  const keel = Keel.spawn();
  const snapshotter = new OverlaySnapshotter({ keel, root });
  const images = new Images({
    ...{ paths: { root }, db, leases: new Leases(db), snapshotter },
    users: (id) => users.get(id) ?? [],
    registries: {
      settings: options.settings ?? {},
      credentials: new CredentialStore({ configPath: options.configPath ?? join(root, 'config.json') }),
      retry: { attempts: 4, baseMs: 5, maxMs: 50, maxRetryAfterMs: 3000 },
      ...(options.silenceMs !== undefined && { silenceMs: options.silenceMs }),
    },
  });
  const events: ProgressEvent[] = [];
  const count = async (dir: string): Promise<number> => (await readdir(join(root, dir)).catch(() => [])).length;
  return {
    ...{ images, root, db, snapshotter, events, users },
    context: new Context({ progress: (event) => events.push(event) }),
    left: async () => ({
      blobs: await count('content/sha256'),
      unfinished: await count('content/ingest'),
      layers: (await snapshotter.list()).length,
    }),
    async [Symbol.asyncDispose]() {
      images[Symbol.dispose]();
      await keel[Symbol.asyncDispose]();
      db.close();
      if (options.root === undefined) await rm(root, { recursive: true, force: true });
    },
  };
}
