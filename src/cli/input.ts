import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { KeelsonError, messageOf } from '../ground/errors.ts';
import { openError } from './options/key-values.ts';

/** What a user names as a source of bytes: `-` for standard input, a URL, or a file. */
export async function readSource(from: string, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
  if (from === '-') return process.stdin;
  if (/^https?:\/\//.test(from)) {
    let response: Response;
    try {
      response = await fetch(from, signal ? { signal } : {});
    } catch (error) {
      const { cause } = error as { cause?: unknown };
      throw new KeelsonError('unavailable', `getting ${from}: ${messageOf(cause ?? error)}`, { cause: error });
    }
    if (!response.ok || response.body === null)
      throw new KeelsonError('unavailable', `getting ${from}: HTTP ${response.status} ${response.statusText}`, {
        details: { status: response.status },
      });
    return Readable.fromWeb(response.body);
  }
  try {
    // Opened here, so that a file that isn't there is told of before anything else is done.
    const file = await open(from);
    return file.createReadStream();
  } catch (error) {
    throw openError(from, error);
  }
}

/** All of standard input, of which no more than `limit` bytes are taken. */
export async function readAll(limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit) throw new KeelsonError('invalid-argument', `more than ${limit} bytes on standard input`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
