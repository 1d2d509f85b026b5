import type { Context } from '../ground/context.ts';
import { isKeelsonError, KeelsonError } from '../ground/errors.ts';
import type { Descriptor } from '../spec/image.ts';
import type { ContentStore, Ingest } from './content-store.ts';
import { failure, type HttpResponse } from './http-client.ts';
import type { RegistryClient } from './registry-client.ts';
import { defaultRetry, pause, type RetryPolicy, retryAfterOf } from './retry.ts';

export interface DownloadOptions {
  readonly client: RegistryClient;
  readonly repository: string;
  readonly store: ContentStore;
  readonly retry?: RetryPolicy;
  /** Bytes so far. */
  readonly progress?: (current: number) => void;
  /** Begins each error: "pulling alpine:latest". */
  readonly doing: string;
}

/** Written at once: fewer, larger writes, and progress that is told as often. */
const batchBytes = 1 << 20;
/** An attempt that brought less counts as a failure in a row. */
const progressBytes = 64 << 10;

/**
 * Brings a blob into the store, verified. A cut or silent line is taken up where it ended, also by a later process. An attempt that brought bytes
 * counts as the first again: only standing still uses attempts up. The caller holds the lease for this digest.
 */
export async function downloadBlob(context: Context, blob: Descriptor, options: DownloadOptions): Promise<void> {
  const { store, doing } = options;
  const ingest = await store.resume(blob.digest, blob.size);
  try {
    if (ingest.offset < blob.size || blob.size === 0) await fill(context, blob, ingest, options);
  } catch (error) {
    // Wrong bytes are of no use to anyone; on a full disk the room is worth more than the resumption.
    const useless = isKeelsonError(error, 'corrupt') || isKeelsonError(error, 'exhausted');
    await (useless || ingest.offset === 0 ? ingest.discard() : ingest.keep());
    throw error;
  }
  try {
    await ingest.commit();
  } catch (error) {
    if (!isKeelsonError(error, 'corrupt')) throw error;
    throw new KeelsonError('corrupt', `${doing}: ${options.client.endpoint.host} sent a wrong blob: ${error.message}`, {
      cause: error,
    });
  }
}

async function fill(context: Context, blob: Descriptor, ingest: Ingest, options: DownloadOptions): Promise<void> {
  const { client, doing } = options;
  const retry = options.retry ?? defaultRetry;
  let failures = 0;
  for (;;) {
    const before = ingest.offset;
    const response = await open(context, blob, before, options);
    if (!(await placeAt(response, ingest, blob))) continue;
    let failed = new KeelsonError('unavailable', `${client.endpoint.host}: the line was cut`);
    try {
      await copy(context, response, ingest, options);
      if (ingest.offset === blob.size) return;
    } catch (error) {
      response.body.destroy();
      context.check(doing);
      failed = failure(context, response.url, error);
      if (failed.code !== 'unavailable' && failed.code !== 'timeout') throw failed;
    }
    failures = ingest.offset - before >= progressBytes ? 1 : failures + 1;
    if (!(await pause(context, retry, failures + 1, retryAfterOf(failed), doing))) {
      const message = `${doing}: ${failed.message} (${failures} times in a row, ${ingest.offset} of ${blob.size} bytes are here)`;
      throw new KeelsonError(failed.code, message, { cause: failed, details: failed.details });
    }
  }
}

async function open(context: Context, blob: Descriptor, from: number, options: DownloadOptions): Promise<HttpResponse> {
  const { client, repository, doing } = options;
  try {
    return await client.blob(context, repository, blob.digest, from, doing);
  } catch (error) {
    // Layers that may not be distributed lie elsewhere; which bytes they are is told by the digest.
    for (const text of isKeelsonError(error, 'not-found') ? (blob.urls ?? []) : []) {
      if (!URL.canParse(text) || new URL(text).protocol !== 'https:') continue;
      const response = await client.foreign(context, new URL(text));
      if (response.status === 200) return response;
      response.body.resume();
    }
    throw error;
  }
}

/** Brings the ingest to where the answer begins. False: nothing can be read from it, ask again. */
async function placeAt(response: HttpResponse, ingest: Ingest, blob: Descriptor): Promise<boolean> {
  if (response.status === 206) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers['content-range'] ?? '');
    if (Number(range?.[1]) === ingest.offset) return true;
  } else if (response.status === 200) {
    const announced = response.headers['content-length'];
    if (announced !== undefined && Number(announced) !== blob.size) {
      response.body.destroy();
      throw new KeelsonError(
        'corrupt',
        `${response.url.host}: ${blob.digest} has ${announced} bytes there, its descriptor says ${blob.size}`,
      );
    }
    // It doesn't do ranges.
    if (ingest.offset > 0) await ingest.restart();
    return true;
  }
  response.body.destroy();
  await ingest.restart();
  return false;
}

async function copy(
  context: Context,
  response: HttpResponse,
  ingest: Ingest,
  { progress, doing }: DownloadOptions,
): Promise<void> {
  let batch: Buffer[] = [];
  let size = 0;
  const flush = async (): Promise<void> => {
    const chunks = batch;
    batch = [];
    size = 0;
    if (chunks.length > 0) await ingest.write(chunks);
    progress?.(ingest.offset);
  };
  try {
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      batch.push(chunk);
      size += chunk.length;
      if (size >= batchBytes) await flush();
    }
  } catch (error) {
    // What did arrive is kept: the next attempt goes on after it, be it another day's.
    await flush();
    context.check(doing);
    throw error;
  }
  await flush();
}
