import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import type { Credentials } from './credentials.ts';
import { type HttpClient, type HttpResponse, readBody } from './http-client.ts';
import { clean } from './registry-errors.ts';

export interface Challenge {
  readonly scheme: 'basic' | 'bearer';
  readonly parameters: Readonly<Record<string, string>>;
}

interface Token {
  readonly value: string;
  /** Milliseconds since the epoch; a little before the server's idea of it. */
  readonly goodUntil: number;
}

const maxTokenBytes = 1 << 20;
const clientId = 'keelson';

/**
 * Answers a registry's challenges: Basic, and Bearer tokens of the distribution-spec's token server (by GET with a name and password or anonymously, by
 * OAuth2's POST with an identity token). Tokens are kept per scope and got anew shortly before they expire.
 */
export class RegistryAuth {
  readonly #http: HttpClient;
  readonly #plainAllowed: (host: string) => boolean;
  readonly #credentials: () => Promise<Credentials | undefined>;
  #known: { readonly challenge: Challenge; readonly from: URL } | undefined;
  readonly #tokens = new Map<string, Promise<Token>>();

  constructor(options: {
    http: HttpClient;
    plainAllowed: (host: string) => boolean;
    credentials: () => Promise<Credentials | undefined>;
  }) {
    this.#http = options.http;
    this.#plainAllowed = options.plainAllowed;
    this.#credentials = options.credentials;
  }

  /** The Authorization header for these scopes; undefined while the registry hasn't asked for any. */
  async header(context: Context, scopes: readonly string[]): Promise<string | undefined> {
    if (this.#known === undefined) return undefined;
    const { challenge, from } = this.#known;
    if (challenge.scheme === 'basic') {
      const credentials = await this.#credentials();
      return credentials && 'username' in credentials ? basic(credentials) : undefined;
    }
    return `Bearer ${(await this.#token(context, challenge, from, scopes)).value}`;
  }

  /** Takes in a 401 to a request with the Authorization `used`, so that `header` gives another one if there is any. */
  async learn(response: HttpResponse, scopes: readonly string[], used: string | undefined): Promise<void> {
    const challenges = parseChallenges(response.headers['www-authenticate'] ?? '');
    const challenge = challenges.find(({ scheme }) => scheme === 'bearer') ?? challenges[0];
    if (challenge === undefined) return;
    this.#known = { challenge, from: response.url };
    // A token that was good until now was withdrawn or expired early; another request may have got a new one already.
    const token = await this.#tokens.get(keyOf(scopes));
    if (token && `Bearer ${token.value}` === used) this.#tokens.delete(keyOf(scopes));
  }

  /** Whether credentials are at hand, for the words of an error. */
  async isAnonymous(): Promise<boolean> {
    return (await this.#credentials()) === undefined;
  }

  /** Asks the token server for a lasting identity token, as `login` does. Undefined where the registry has none to give. */
  async identityToken(context: Context): Promise<string | undefined> {
    if (this.#known?.challenge.scheme !== 'bearer') return undefined;
    const { challenge, from } = this.#known;
    const answer = await this.#ask(context, challenge, from, [], true);
    const { refresh_token: refresh } = answer;
    return typeof refresh === 'string' && refresh !== '' ? refresh : undefined;
  }

  async #token(context: Context, challenge: Challenge, from: URL, scopes: readonly string[]): Promise<Token> {
    const key = keyOf(scopes);
    const kept = this.#tokens.get(key);
    if (kept !== undefined) {
      const token = await kept;
      if (token.goodUntil > Date.now()) return token;
    }
    const fresh = this.#fetchToken(context, challenge, from, scopes);
    this.#tokens.set(key, fresh);
    fresh.catch(() => this.#tokens.delete(key));
    return fresh;
  }

  async #fetchToken(context: Context, challenge: Challenge, from: URL, scopes: readonly string[]): Promise<Token> {
    const asked = Date.now();
    const answer = await this.#ask(context, challenge, from, scopes, false);
    const value = answer['token'] ?? answer['access_token'];
    // RFC 6750's alphabet: the token goes into a header.
    if (typeof value !== 'string' || !/^[A-Za-z0-9._~+/=-]+$/.test(value)) {
      throw new KeelsonError('unavailable', `${from.host}: its token server's answer holds no token`);
    }
    // 60 seconds is what the specification says for an answer that doesn't tell.
    const seconds = typeof answer['expires_in'] === 'number' && answer['expires_in'] > 0 ? answer['expires_in'] : 60;
    return { value, goodUntil: asked + Math.max(seconds - 10, seconds / 2) * 1000 };
  }

  async #ask(
    context: Context,
    challenge: Challenge,
    from: URL,
    scopes: readonly string[],
    offline: boolean,
  ): Promise<Record<string, unknown>> {
    const realm = this.#realm(challenge, from);
    const { service } = challenge.parameters;
    const credentials = await this.#credentials();
    let response: HttpResponse;
    if (credentials && 'identityToken' in credentials) {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        client_id: clientId,
        refresh_token: credentials.identityToken,
        ...(service !== undefined && { service }),
        ...(scopes.length > 0 && { scope: scopes.join(' ') }),
      });
      const headers = { 'content-type': 'application/x-www-form-urlencoded' };
      response = await this.#http.request(context, {
        method: 'POST',
        url: realm,
        headers,
        body: Buffer.from(form.toString()),
      });
    } else {
      if (service !== undefined) realm.searchParams.set('service', service);
      for (const scope of scopes) realm.searchParams.append('scope', scope);
      if (offline) {
        realm.searchParams.set('offline_token', 'true');
        realm.searchParams.set('client_id', clientId);
      }
      if (credentials) realm.searchParams.set('account', credentials.username);
      const headers: Record<string, string> = credentials ? { authorization: basic(credentials) } : {};
      response = await this.#http.request(context, { method: 'GET', url: realm, headers });
    }
    const body = await readBody(response, maxTokenBytes, `${realm.host}: the answer of its token server`);
    if (response.status === 200) return parseAnswer(body, realm);
    throw tokenError(response, body, realm, credentials);
  }

  #realm(challenge: Challenge, from: URL): URL {
    const { realm = '' } = challenge.parameters;
    if (!URL.canParse(realm)) {
      throw new KeelsonError('unavailable', `${from.host}: names ${JSON.stringify(realm)} as its token server`);
    }
    const url = new URL(realm);
    // Credentials go there: never less protected than the registry itself.
    const plain = url.protocol === 'http:' && this.#plainAllowed(url.host);
    if (url.protocol !== 'https:' && !plain) {
      throw new KeelsonError('denied', `${from.host}: its token server ${url.origin} is not encrypted`);
    }
    return url;
  }
}

/** RFC 9110, section 11.6.1: `Bearer realm="…",service="…", Basic realm="…"`. Unknown schemes are left out. */
export function parseChallenges(header: string): Challenge[] {
  const found: { scheme: string; parameters: Record<string, string> }[] = [];
  const token = /([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?[\s,]*/y;
  const text = header.slice(0, 16_384);
  token.lastIndex = /^[\s,]*/.exec(text)?.[0].length ?? 0;
  for (let match = token.exec(text); match; match = token.exec(text)) {
    const [, name = '', quoted, bare] = match;
    const value = quoted?.replaceAll(/\\(.)/g, '$1') ?? bare;
    if (value === undefined) found.push({ scheme: name.toLowerCase(), parameters: {} });
    else {
      const last = found.at(-1);
      if (last) last.parameters[name.toLowerCase()] = value;
    }
  }
  return found.filter((each): each is Challenge => each.scheme === 'basic' || each.scheme === 'bearer');
}

function keyOf(scopes: readonly string[]): string {
  return scopes.join(' ');
}

function basic(credentials: { username: string; password: string }): string {
  return `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}`;
}

function parseAnswer(body: Buffer, realm: URL): Record<string, unknown> {
  try {
    const answer: unknown = JSON.parse(body.toString('utf8'));
    if (typeof answer === 'object' && answer !== null) return answer as Record<string, unknown>;
  } catch {
    // The text may hold a token: it is not quoted.
  }
  throw new KeelsonError('unavailable', `${realm.host}: its token server's answer is not JSON`);
}

function tokenError(
  response: HttpResponse,
  body: Buffer,
  realm: URL,
  credentials: Credentials | undefined,
): KeelsonError {
  const { status } = response;
  const transient = status === 429 || status >= 500;
  if (status === 400 || status === 401 || status === 403) {
    const who =
      credentials === undefined
        ? 'wants credentials'
        : 'username' in credentials
          ? `refused user ${credentials.username}'s credentials`
          : 'refused the identity token';
    return new KeelsonError('unauthenticated', `the token server ${realm.host} ${who}`, { details: { status } });
  }
  const said = clean(body.toString('utf8'));
  return new KeelsonError('unavailable', `the token server ${realm.host} answered ${status}: ${said}`, {
    details: {
      status,
      transient,
      ...(response.headers['retry-after'] && { retryAfter: response.headers['retry-after'] }),
    },
  });
}
