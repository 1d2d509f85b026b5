import type { Slots } from '../ground/together.ts';
import type { ImageTables } from '../store/images.ts';
import type { Leases } from '../store/leases.ts';
import type { ContentStore } from './content-store.ts';
import type { Registries } from './registries.ts';
import type { Snapshotter } from './snapshotter.ts';

/** A container that was made from an image. */
export interface ImageUser {
  readonly id: string;
  readonly running: boolean;
}

/** What the operations on images work with; made by Images. */
export interface ImageBackend {
  readonly tables: ImageTables;
  readonly leases: Leases;
  readonly store: ContentStore;
  readonly snapshotter: Snapshotter;
  readonly registries: Registries;
  /** How many layers this process downloads, unpacks or compresses, and uploads at once. */
  readonly downloads: Slots;
  readonly unpacks: Slots;
  readonly uploads: Slots;
  /** The containers of an image. Called inside a transaction: must only read the database. */
  readonly users: (imageId: string) => readonly ImageUser[];
}
