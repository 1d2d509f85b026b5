import { createHash, createPrivateKey, createPublicKey, randomBytes, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface TokenServer extends AsyncDisposable {
  readonly realm: string;
  /** Every request for a token: method, scopes, who asked. */
  readonly asked: readonly { method: string; scopes: readonly string[]; user: string | undefined }[];
  /** Seconds for which tokens are good. */
  lifetime: number;
}

export interface TokenServerOptions {
  readonly issuer: string;
  readonly service: string;
  /** PEM of the key that signs, and of a certificate for it which the registry trusts. */
  readonly key: string;
  /** Who may do what beyond anonymous pulls below `public/`. Identity tokens are `identity-of-<user>`. */
  readonly users: Readonly<Record<string, string>>;
}

/** A token server as the distribution project specifies it (token authentication; OAuth2), for a registry with `auth: token`. */
export async function startTokenServer(options: TokenServerOptions): Promise<TokenServer> {
  const asked: { method: string; scopes: readonly string[]; user: string | undefined }[] = [];
  const key = createPrivateKey(readFileSync(options.key));

  /** The status and the JSON that answer a request. */
  async function answer(incoming: IncomingMessage): Promise<[status: number, body: object]> {
    const url = new URL(incoming.url ?? '/', 'http://x');
    const { method = 'GET' } = incoming;
    const form = method === 'POST' ? new URLSearchParams(await text(incoming)) : url.searchParams;
    const scopes = form.getAll('scope').flatMap((scope) => scope.split(' '));
    const user = who(incoming, form);
    asked.push({ method, scopes, user: user ?? undefined });
    if (user === null || form.get('service') !== options.service) return [401, { details: 'incorrect credentials' }];
    const access = scopes.map(parseScope).map(({ type, name, actions }) => ({
      type,
      name,
      actions: user !== undefined ? actions : name.startsWith('public/') ? actions.filter((a) => a === 'pull') : [],
    }));
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      ...{ iss: options.issuer, sub: user ?? '', aud: options.service, jti: randomBytes(8).toString('hex'), access },
      ...{ exp: now + tokens.lifetime, nbf: now - 5, iat: now },
    };
    const token = jwt(claims, key);
    const refresh = user !== undefined && (form.get('offline_token') === 'true' || method === 'POST');
    const named = method === 'POST' ? { access_token: token } : { token };
    const identity = refresh ? { refresh_token: `identity-of-${user}` } : {};
    return [200, { ...named, ...identity, expires_in: tokens.lifetime, issued_at: new Date().toISOString() }];
  }

  /** undefined: nobody in particular; null: somebody who can't prove it. */
  function who(incoming: IncomingMessage, form: URLSearchParams): string | undefined | null {
    const refresh = form.get('refresh_token');
    if (refresh !== null) {
      const user = refresh.replace('identity-of-', '');
      return user in options.users ? user : null;
    }
    const { authorization } = incoming.headers;
    if (authorization === undefined) return undefined;
    const [user = '', password] = Buffer.from(authorization.replace('Basic ', ''), 'base64').toString().split(':');
    return options.users[user] === password ? user : null;
  }

  const server = createServer((incoming, outgoing) => {
    answer(incoming).then(
      ([status, body]) => outgoing.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
      () => outgoing.destroy(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const tokens = {
    realm: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    asked,
    lifetime: 300,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
  return tokens;
}

function parseScope(scope: string): { type: string; name: string; actions: string[] } {
  const [type = '', ...rest] = scope.split(':');
  const actions = rest.pop() ?? '';
  return { type, name: rest.join(':'), actions: actions.split(',') };
}

/** ES256, with the key id that libtrust computes: base32 of the first 240 bits of the public key's SHA-256, in groups of four. */
function jwt(claims: object, key: ReturnType<typeof createPrivateKey>): string {
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const id = base32(createHash('sha256').update(spki).digest().subarray(0, 30)).match(/.{4}/g)?.join(':') ?? '';
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ typ: 'JWT', alg: 'ES256', kid: id })}.${part(claims)}`;
  return `${signed}.${sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}

function base32(bytes: Uint8Array): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  let bits = '';
  for (const byte of bytes) bits += byte.toString(2).padStart(8, '0');
  return (bits.match(/.{5}/g) ?? []).map((five) => alphabet[Number.parseInt(five, 2)]).join('');
}

async function text(incoming: IncomingMessage): Promise<string> {
  let all = '';
  for await (const chunk of incoming) all += String(chunk);
  return all;
}
