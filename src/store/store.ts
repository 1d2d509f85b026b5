import { join } from 'node:path';
import type { Paths } from '../ground/paths.ts';
import { Database } from './database.ts';
import { migrations } from './migrations.ts';

/** The one database of a data root, `<root>/keelson.db`, with every table of src/store. */
export function openStore(paths: Pick<Paths, 'root'>): Database {
  return Database.open(join(paths.root, 'keelson.db'), migrations);
}
