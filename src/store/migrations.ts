import { containersSchema } from './containers.ts';
import type { Migration } from './database.ts';
import { eventsSchema } from './events.ts';
import { imagesSchema } from './images.ts';
import { leasesSchema } from './leases.ts';
import { networkSchema } from './network.ts';
import { volumesSchema } from './volumes.ts';

/** In the order in which they were written: append, never change or reorder what was released. */
export const migrations: readonly Migration[] = [
  { name: 'leases', sql: leasesSchema },
  { name: 'containers', sql: containersSchema },
  { name: 'volumes', sql: volumesSchema },
  { name: 'events', sql: eventsSchema },
  { name: 'images', sql: imagesSchema },
  { name: 'network', sql: networkSchema },
];
