import { createWriteStream, existsSync, statSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { KeelsonError } from '../../ground/errors.ts';
import type { Cli } from '../cli.ts';
import { openError } from '../options/key-values.ts';

/**
 * Writes an archive to a file, or to standard output when `path` is '', which must not be a terminal then. The file appears under its
 * name when it is complete.
 */
export async function writeArchive(cli: Cli, path: string, archive: () => AsyncIterable<Uint8Array>): Promise<void> {
  if (path === '') {
    if (cli.stdout.isTerminal)
      throw new KeelsonError(
        'invalid-argument',
        'cowardly refusing to save to a terminal. Use the -o flag or redirect',
      );
    for await (const chunk of archive()) await cli.stdout.send(chunk);
    return;
  }
  // A pipe or device is written to; a file is replaced when its successor is complete.
  const special = existsSync(path) && !statSync(path).isFile();
  const draft = special ? path : `${path}.${process.pid}.part`;
  const file = createWriteStream(draft, { flags: special ? 'w' : 'wx', mode: 0o600 });
  try {
    await new Promise<void>((resolve, reject) => {
      file.once('open', () => resolve());
      file.once('error', reject);
    });
  } catch (error) {
    throw openError(path, error);
  }
  try {
    await pipeline(Readable.from(archive()), file, { signal: cli.context.signal });
    if (!special) await rename(draft, path);
  } catch (error) {
    if (!special) await rm(draft, { force: true });
    throw error;
  }
}
