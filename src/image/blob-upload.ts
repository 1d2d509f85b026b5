import type { Context } from '../ground/context.ts';
import { isKeelsonError, KeelsonError } from '../ground/errors.ts';
import type { Digest } from '../spec/digest.ts';
import type { ContentStore } from './content-store.ts';
import { type HttpResponse, isTransient } from './http-client.ts';
import { pullScope, pushScope, type RegistryClient } from './registry-client.ts';
import { defaultRetry, pause, type RetryPolicy, retryAfterOf } from './retry.ts';

export interface UploadOptions {
  readonly client: RegistryClient;
  readonly repository: string;
  readonly store: ContentStore;
  /** Other repositories of the same registry that may have the blob already. */
  readonly mountFrom: readonly string[];
  readonly retry?: RetryPolicy;
  readonly progress?: (current: number) => void;
  readonly doing: string;
}

/** What became of a blob: it was there, it was mounted from the repository named, it was sent. */
export type Uploaded = 'exists' | 'sent' | { readonly mountedFrom: string };

/** Larger blobs go in pieces: a cut line costs one of them, not all. */
const pieceBytes = 64 << 20;

/**
 * Sees to it that the repository has the blob (distribution-spec, "Pushing blobs"): looks, then mounts, then sends. An upload whose line was cut
 * can't be sent once more to the same place: it begins anew, or, in pieces, goes on after what has arrived.
 */
export async function uploadBlob(
  context: Context,
  blob: { readonly digest: Digest; readonly size: number },
  options: UploadOptions,
): Promise<Uploaded> {
  const { client, repository, doing } = options;
  const scopes = [pushScope(repository)];
  const there = await client.send(context, {
    ...{ method: 'HEAD', at: `${repository}/blobs/${blob.digest}`, scopes, ok: [200, 404], doing },
  });
  there.body.resume();
  if (there.status === 200) return 'exists';
  for (let attempt = 1; ; attempt++) {
    const begun = await begin(context, blob.digest, options);
    if ('mountedFrom' in begun) return begun;
    try {
      if (blob.size <= pieceBytes) await sendWhole(context, blob, begun.location, options);
      else await sendPieces(context, blob, begun.location, options);
      return 'sent';
    } catch (error) {
      if (!isTransient(error) || !(await again(context, options, attempt, error))) throw error;
    }
  }
}

async function again(context: Context, options: UploadOptions, failures: number, error: unknown): Promise<boolean> {
  return pause(context, options.retry ?? defaultRetry, failures + 1, retryAfterOf(error), options.doing);
}

/** Mounts the blob from the first repository that lets us, or begins an upload. */
async function begin(
  context: Context,
  digest: Digest,
  { client, repository, mountFrom, doing }: UploadOptions,
): Promise<{ location: URL } | { mountedFrom: string }> {
  // One is tried: a registry that can't mount has begun an upload instead.
  const [from] = mountFrom;
  const query = from === undefined ? '' : `?mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(from)}`;
  const response = await client.send(context, {
    method: 'POST',
    at: `${repository}/blobs/uploads/${query}`,
    headers: { 'content-length': '0' },
    scopes: [pushScope(repository), ...(from === undefined ? [] : [pullScope(from)])],
    ok: from === undefined ? [202] : [201, 202],
    doing,
  });
  response.body.resume();
  return response.status === 201 && from !== undefined
    ? { mountedFrom: from }
    : { location: locationOf(response, doing) };
}

async function sendWhole(
  context: Context,
  blob: { digest: Digest; size: number },
  location: URL,
  options: UploadOptions,
): Promise<void> {
  const { client, repository, store, progress, doing } = options;
  location.searchParams.set('digest', blob.digest);
  const response = await client.send(context, {
    method: 'PUT',
    at: location,
    headers: { 'content-type': 'application/octet-stream', 'content-length': String(blob.size) },
    body: () => counted(store.stream(blob.digest), 0, progress),
    scopes: [pushScope(repository)],
    ok: [201, 204],
    doing,
    once: true,
  });
  response.body.resume();
}

async function sendPieces(
  context: Context,
  blob: { digest: Digest; size: number },
  first: URL,
  options: UploadOptions,
): Promise<void> {
  const { client, repository, doing } = options;
  const scopes = [pushScope(repository)];
  let location = first;
  let failures = 0;
  for (let sent = 0; sent < blob.size; ) {
    const end = Math.min(sent + pieceBytes, blob.size);
    try {
      const response = await sendPiece(context, blob.digest, sent, end, location, options);
      if (response.headers.location !== undefined) location = locationOf(response, doing);
      sent = response.status === 202 ? end : await received(context, location, options);
      if (response.status === 202) failures = 0;
      else if (!(await again(context, options, ++failures, undefined))) throw stuck(doing, client.endpoint.host);
    } catch (error) {
      if (sent === 0 && isRefusal(error)) {
        // Registries need not take pieces; all take a whole.
        const begun = await begin(context, blob.digest, { ...options, mountFrom: [] });
        if ('location' in begun) await sendWhole(context, blob, begun.location, options);
        return;
      }
      if (!isTransient(error) || !(await again(context, options, ++failures, error))) throw error;
      // What arrived before the line was cut need not be sent again, unless the registry has thrown it away: then all anew.
      sent = await received(context, location, options).catch((lost: unknown) => {
        throw isRefusal(lost) ? error : lost;
      });
    }
  }
  location.searchParams.set('digest', blob.digest);
  const headers = { 'content-length': '0' };
  const closed = await client.send(context, { method: 'PUT', at: location, headers, scopes, ok: [201, 204], doing });
  closed.body.resume();
}

async function sendPiece(
  context: Context,
  digest: Digest,
  from: number,
  end: number,
  location: URL,
  { client, repository, store, progress, doing }: UploadOptions,
): Promise<HttpResponse> {
  const response = await client.send(context, {
    method: 'PATCH',
    at: location,
    headers: {
      'content-type': 'application/octet-stream',
      'content-length': String(end - from),
      'content-range': `${from}-${end - 1}`,
    },
    body: () => counted(store.stream(digest, { start: from, end: end - 1 }), from, progress),
    scopes: [pushScope(repository)],
    ok: [202, 416],
    doing,
    once: true,
  });
  response.body.resume();
  return response;
}

function stuck(doing: string, host: string): KeelsonError {
  return new KeelsonError('unavailable', `${doing}: ${host} does not take the next piece of an upload`);
}

/** How many bytes of an upload have arrived. */
async function received(
  context: Context,
  location: URL,
  { client, repository, doing }: UploadOptions,
): Promise<number> {
  const scopes = [pushScope(repository)];
  const response = await client.send(context, { method: 'GET', at: location, scopes, ok: [204, 200], doing });
  response.body.resume();
  const range = /^0-(\d+)$/.exec(response.headers.range ?? '');
  // `0-0` is what an empty upload says.
  return range?.[1] === undefined || range[1] === '0' ? 0 : Number(range[1]) + 1;
}

function isRefusal(error: unknown): boolean {
  const status = isKeelsonError(error) ? error.details.status : undefined;
  return status !== undefined && [400, 404, 405, 413, 415, 501].includes(status);
}

function locationOf(response: HttpResponse, doing: string): URL {
  const { location } = response.headers;
  const base = response.url.href;
  if (location === undefined || !URL.canParse(location, base)) {
    throw new KeelsonError('unavailable', `${doing}: ${response.url.host} did not say where to upload to`);
  }
  const url = new URL(location, base);
  // A registry behind a proxy that ends TLS may not know its own scheme.
  if (response.url.protocol === 'https:' && url.protocol === 'http:' && url.hostname === response.url.hostname) {
    url.protocol = 'https:';
    url.port = response.url.port;
  }
  if (url.protocol === 'http:' && response.url.protocol === 'https:') {
    throw new KeelsonError(
      'denied',
      `${doing}: ${response.url.host} wants the upload at ${url.origin}, which is not encrypted`,
    );
  }
  return url;
}

/** Tells of the bytes as they leave. */
function counted(
  stream: ReturnType<ContentStore['stream']>,
  from: number,
  progress: ((current: number) => void) | undefined,
): ReturnType<ContentStore['stream']> {
  let sent = from;
  if (progress) {
    stream.on('data', (chunk) => {
      sent += chunk.length;
      progress(sent);
    });
    stream.pause();
  }
  return stream;
}
