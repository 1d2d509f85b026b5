import type { Readable } from 'node:stream';
import type { Context } from '../ground/context.ts';
import { isKeelsonError, KeelsonError } from '../ground/errors.ts';
import { type Digest } from '../spec/digest.ts';
import { maxManifestBytes } from '../spec/image.ts';
import { acceptedManifests } from '../spec/media-types.ts';
import type { Credentials } from './credentials.ts';
import { HttpClient, type HttpRequest, type HttpResponse, isTransient, readBody } from './http-client.ts';
import { RegistryAuth } from './registry-auth.ts';
import { answerError } from './registry-errors.ts';
import type { Endpoint } from './registry-hosts.ts';
import { defaultRetry, pause, type RetryPolicy, retryAfterOf } from './retry.ts';

export interface RegistryRequest {
  readonly method: HttpRequest['method'];
  /** Below `/v2/`, or a whole URL that the registry gave (an upload's location). */
  readonly at: string | URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | (() => Readable);
  /** What a token must allow: `repository:library/alpine:pull`. */
  readonly scopes: readonly string[];
  /** Statuses that are answers; others are errors. */
  readonly ok: readonly number[];
  /** Begins the error: "pulling alpine:latest". */
  readonly doing: string;
  /** Not to be tried again here: what is sent must not arrive twice. */
  readonly once?: boolean;
}

/**
 * One registry, spoken to by the OCI distribution-spec 1.1. Authenticates as asked, tries again what may pass (a cut line, silence, 429, 5xx),
 * says in its errors what was being done and what the registry answered.
 */
export class RegistryClient {
  readonly endpoint: Endpoint;
  readonly #http: HttpClient;
  readonly #auth: RegistryAuth;
  readonly #retry: RetryPolicy;
  #base: Promise<URL> | undefined;

  constructor(options: {
    endpoint: Endpoint;
    http: HttpClient;
    plainAllowed: (host: string) => boolean;
    credentials: () => Promise<Credentials | undefined>;
    retry?: RetryPolicy;
  }) {
    this.endpoint = options.endpoint;
    this.#http = options.http;
    this.#retry = options.retry ?? defaultRetry;
    this.#auth = new RegistryAuth(options);
  }

  /** Makes the request until there is an answer or the policy's attempts are used up. */
  async send(context: Context, request: RegistryRequest): Promise<HttpResponse> {
    for (let attempt = 1; ; attempt++) {
      let failed: KeelsonError;
      try {
        const response = await this.#authorised(context, request);
        if (request.ok.includes(response.status)) return response;
        failed = await answerError(response, request.doing, {
          registry: this.endpoint.host,
          anonymous: await this.#auth.isAnonymous(),
        });
      } catch (error) {
        if (!(error instanceof KeelsonError)) throw error;
        failed = error;
      }
      const again =
        isTransient(failed) &&
        request.once !== true &&
        (await pause(context, this.#retry, attempt + 1, retryAfterOf(failed), request.doing));
      if (!again) throw this.#named(failed, request.doing, attempt);
    }
  }

  /** A manifest or index as it is, with what the registry calls it. `reference`: a tag or a digest. */
  async manifest(
    context: Context,
    repository: string,
    reference: string,
    doing: string,
  ): Promise<{ bytes: Buffer; mediaType: string | undefined }> {
    // A cut line in the midst of a body is seen only while it is read.
    for (let attempt = 1; ; attempt++) {
      const response = await this.send(context, {
        method: 'GET',
        at: `${repository}/manifests/${reference}`,
        headers: { accept: acceptedManifests },
        scopes: [pullScope(repository)],
        ok: [200],
        doing,
      });
      try {
        const bytes = await readBody(response, maxManifestBytes, `${doing}: the manifest`);
        const type = response.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase();
        return { bytes, mediaType: type };
      } catch (error) {
        context.check(doing);
        const again = isKeelsonError(error, 'unavailable') || isKeelsonError(error, 'timeout');
        if (!again || !(await pause(context, this.#retry, attempt + 1, undefined, doing))) throw error;
      }
    }
  }

  /** A blob from byte `from` on. 206: from there; 200: from the beginning, whatever was asked; 416: there is nothing from there on. */
  async blob(context: Context, repository: string, digest: Digest, from: number, doing: string): Promise<HttpResponse> {
    return this.send(context, {
      method: 'GET',
      at: `${repository}/blobs/${digest}`,
      headers: { 'accept-encoding': 'identity', ...(from > 0 && { range: `bytes=${from}-` }) },
      scopes: [pullScope(repository)],
      ok: from > 0 ? [200, 206, 416] : [200],
      doing,
    });
  }

  /** A URL from outside the registry (a foreign layer's), without credentials. */
  async foreign(context: Context, url: URL): Promise<HttpResponse> {
    return this.#http.request(context, { method: 'GET', url, headers: { 'accept-encoding': 'identity' } });
  }

  /** Checks that the registry is there and takes the credentials; returns the identity token if it gives one. */
  async login(context: Context): Promise<string | undefined> {
    const doing = `logging in to ${this.endpoint.host}`;
    (await this.send(context, { method: 'GET', at: '', scopes: [], ok: [200], doing })).body.resume();
    return this.#auth.identityToken(context);
  }

  async #authorised(context: Context, request: RegistryRequest): Promise<HttpResponse> {
    const base = await this.#locate(context);
    const url = request.at instanceof URL ? request.at : new URL(`v2/${request.at}`, base);
    // Credentials are for the registry alone: an upload's location may be elsewhere.
    const own = url.origin === base.origin;
    let authorization = own ? await this.#auth.header(context, request.scopes) : undefined;
    for (let tried = false; ; tried = true) {
      const response = await this.#http.request(context, {
        method: request.method,
        url,
        headers: { ...request.headers, ...(authorization !== undefined && { authorization }) },
        ...(request.body !== undefined && { body: request.body }),
      });
      if (response.status !== 401 || tried || !own) return response;
      await this.#auth.learn(response, request.scopes, authorization);
      const next = await this.#auth.header(context, request.scopes);
      if (next === undefined || next === authorization) return response;
      authorization = next;
      response.body.resume();
    }
  }

  /** Finds out which of the endpoint's addresses speaks, once. */
  async #locate(context: Context): Promise<URL> {
    const { bases } = this.endpoint;
    const [only] = bases;
    if (only !== undefined && bases.length === 1) return only;
    this.#base ??= this.#probe(context);
    this.#base.catch(() => {
      this.#base = undefined;
    });
    return this.#base;
  }

  async #probe(context: Context): Promise<URL> {
    let failed: unknown;
    for (const base of this.endpoint.bases) {
      try {
        const response = await this.#http.request(context, { method: 'GET', url: new URL('v2/', base) });
        response.body.resume();
        // How HTTPS servers answer to plain HTTP (Go's net/http and nginx, both with 400).
        if (base.protocol === 'https:' || response.status !== 400) return base;
      } catch (error) {
        if (isKeelsonError(error, 'canceled')) throw error;
        failed = error;
      }
    }
    throw failed ?? new KeelsonError('unavailable', `${this.endpoint.host}: no registry answers there`);
  }

  #named(error: KeelsonError, doing: string, attempts: number): KeelsonError {
    const times = attempts > 1 ? ` (tried ${attempts} times)` : '';
    const message = error.message.startsWith(doing) ? error.message : `${doing}: ${error.message}`;
    return new KeelsonError(error.code, `${message}${times}`, { cause: error, details: error.details });
  }
}

export function pullScope(repository: string): string {
  return `repository:${repository}:pull`;
}

export function pushScope(repository: string): string {
  return `repository:${repository}:pull,push`;
}
