import type { Agent as PlainAgent, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Agent as TlsAgent } from 'node:https';
import { pipeline, type Readable } from 'node:stream';
import { abortError, type Context } from '../ground/context.ts';
import { KeelsonError, messageOf } from '../ground/errors.ts';
import type { TlsMaterial } from './registry-hosts.ts';

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** Bytes, or a stream made anew for every attempt. `content-length` must be among the headers of a stream. */
  readonly body?: Uint8Array | (() => Readable);
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Of the last redirect. */
  readonly url: URL;
  /** Must be read to its end or destroyed. */
  readonly body: IncomingMessage;
}

export interface HttpOptions {
  /** TLS set-up of a host (`name` or `name:port`). */
  readonly tls: (host: string) => TlsMaterial;
  /** Whether plain HTTP may be spoken to a host. */
  readonly plainAllowed: (host: string) => boolean;
  /** How long a connection may stay without a byte before the request fails. */
  readonly silenceMs: number;
}

const maxRedirects = 8;

/**
 * Taken when they are needed, and not by `import`: that asks node:http for everything it exports, among it undici's WebSocket, which
 * makes every start of the program 30 ms slower.
 */
const http = (): typeof import('node:http') => process.getBuiltinModule('node:http');
const https = (): typeof import('node:https') => process.getBuiltinModule('node:https');

/**
 * HTTP with kept-alive connections, redirects and a deadline for silence, no retries. A failure to get an answer is
 * `unavailable` (or `timeout`, `canceled`); any status is an answer.
 */
export class HttpClient implements Disposable {
  readonly #options: HttpOptions;
  #plain: PlainAgent | undefined;
  readonly #secure = new Map<string, TlsAgent>();

  constructor(options: HttpOptions) {
    this.#options = options;
  }

  /**
   * Follows the redirects of GET and HEAD. Authorization stays with the host it was meant for, and no redirect leads from
   * HTTPS to HTTP or to plain HTTP where that isn't allowed.
   */
  async request(context: Context, request: HttpRequest): Promise<HttpResponse> {
    let { url } = request;
    let headers = { ...request.headers };
    for (let hops = 0; ; hops++) {
      const response = await this.#fresh(context, { ...request, url, headers });
      const { location } = response.headers;
      const isRedirect = [301, 302, 303, 307, 308].includes(response.status) && location !== undefined;
      if (!isRedirect || (request.method !== 'GET' && request.method !== 'HEAD')) return response;
      response.body.resume();
      if (hops === maxRedirects) throw unavailable(`${request.url.href}: more than ${maxRedirects} redirects`);
      const next = this.#redirected(url, location);
      if (next.origin !== url.origin) {
        headers = Object.fromEntries(
          Object.entries(headers).filter(([name]) => !/^(authorization|cookie)$/i.test(name)),
        );
      }
      url = next;
    }
  }

  #redirected(from: URL, location: string): URL {
    if (!URL.canParse(location, from.href)) throw unavailable(`${from.href}: redirects to ${JSON.stringify(location)}`);
    const to = new URL(location, from.href);
    const plain = to.protocol === 'http:' && from.protocol === 'http:' && this.#options.plainAllowed(to.host);
    if (to.protocol !== 'https:' && !plain) {
      throw new KeelsonError('denied', `${from.href}: redirects to ${to.origin}, which is not encrypted`);
    }
    to.username = '';
    to.password = '';
    return to;
  }

  /** A kept-alive connection that the server has closed in the meantime is no reason to fail or to wait. */
  async #fresh(context: Context, request: HttpRequest): Promise<HttpResponse> {
    try {
      return await this.#once(context, request);
    } catch (error) {
      if (!(error instanceof KeelsonError) || error.details['stale'] !== true) throw error;
      return this.#once(context, request);
    }
  }

  #once(context: Context, { method, url, headers, body }: HttpRequest): Promise<HttpResponse> {
    context.check(`${method} ${url.href}`);
    const secure = url.protocol === 'https:';
    const { silenceMs } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<HttpResponse>();
    const request = (secure ? https().request : http().request)(url, {
      method,
      headers: { 'user-agent': 'keelson', ...headers },
      agent: secure ? this.#agent(url.host) : this.#plainAgent(),
      timeout: silenceMs,
      signal: context.signal,
    });
    const silent = (): KeelsonError =>
      new KeelsonError('timeout', `${url.host}: not a byte for ${Math.round(silenceMs / 1000)} s`);
    let answer: IncomingMessage | undefined;
    // The same event tells of silence before the answer and in its midst.
    request.on('timeout', () => (answer ?? request).destroy(silent()));
    request.on('error', (error) => {
      const stale = request.reusedSocket && (error as { code?: string }).code === 'ECONNRESET';
      reject(failure(context, url, error, { stale: stale && (method === 'GET' || method === 'HEAD') }));
    });
    request.once('response', (response) => {
      answer = response;
      resolve({ status: response.statusCode ?? 0, headers: response.headers, url, body: response });
    });
    if (body === undefined || body instanceof Uint8Array) request.end(body);
    else pipeline(body(), request, (error) => error && request.destroy(error));
    return promise;
  }

  #plainAgent(): PlainAgent {
    return (this.#plain ??= new (http().Agent)({ keepAlive: true, maxSockets: 16, proxyEnv: proxySettings() }));
  }

  #agent(host: string): TlsAgent {
    let agent = this.#secure.get(host);
    if (agent === undefined) {
      const { verify, ...material } = this.#options.tls(host);
      agent = new (https().Agent)({
        keepAlive: true,
        maxSockets: 16,
        proxyEnv: proxySettings(),
        ...material,
        rejectUnauthorized: verify,
      });
      this.#secure.set(host, agent);
    }
    return agent;
  }

  /** Closes idle connections. */
  [Symbol.dispose](): void {
    this.#plain?.destroy();
    for (const agent of this.#secure.values()) agent.destroy();
  }
}

/** Reads a body of at most `limit` bytes; a longer one is `corrupt`. */
export async function readBody(response: HttpResponse, limit: number, what: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > limit) throw new KeelsonError('corrupt', `${what}: is longer than ${limit} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    response.body.destroy();
    throw error instanceof KeelsonError ? error : unavailable(`${what}: ${messageOf(error)}`, error);
  }
  return Buffer.concat(chunks);
}

/** True for what another attempt may cure: the line was cut, nobody answered in time, the server was busy. */
export function isTransient(error: unknown): boolean {
  return error instanceof KeelsonError && error.details['transient'] === true;
}

/** An error of the line, with the code that tells it: certificates are no passing trouble, a cut line is. */
export function failure(
  context: Context,
  url: URL,
  error: unknown,
  details: Record<string, unknown> = {},
): KeelsonError {
  if (context.signal.aborted) return abortError(context.signal, url.host);
  if (error instanceof KeelsonError) {
    return error.code === 'timeout'
      ? new KeelsonError('timeout', error.message, { cause: error, details: { transient: true } })
      : error;
  }
  const code = (error as { code?: string }).code ?? '';
  const message = messageOf(error) || code;
  if (/^(CERT_|ERR_TLS_CERT|UNABLE_TO|DEPTH_ZERO|SELF_SIGNED|HOSTNAME_MISMATCH|INVALID_CA)/.test(code)) {
    return new KeelsonError(
      'denied',
      `${url.host}: its certificate can't be trusted (${message}): put its authority's certificate into /etc/docker/certs.d/${url.host}/ca.crt`,
      { cause: error, details: { errno: code } },
    );
  }
  const transient = !/^(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ERR_SSL_|EPROTO|ERR_INVALID|EACCES|ENETUNREACH)/.test(code);
  return unavailable(`${url.host}: ${message}`, error, { ...details, transient, ...(code !== '' && { errno: code }) });
}

/** HTTP_PROXY, HTTPS_PROXY and NO_PROXY, with loopback never behind a proxy (as Go's clients have it). */
function proxySettings(): NodeJS.ProcessEnv {
  const excepted = process.env['NO_PROXY'] ?? process.env['no_proxy'] ?? '';
  const never = ['localhost', '127.0.0.1-127.255.255.255', '::1', '[::1]'];
  const none = [...(excepted === '' ? [] : [excepted]), ...never].join(',');
  return { ...process.env, NO_PROXY: none, no_proxy: none };
}

function unavailable(message: string, cause?: unknown, details: Record<string, unknown> = {}): KeelsonError {
  return new KeelsonError('unavailable', message, { cause, details });
}
