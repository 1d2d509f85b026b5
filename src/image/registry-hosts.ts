import { readdirSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { KeelsonError, messageOf } from '../ground/errors.ts';
import type { RegistriesSettings } from '../spec/settings.ts';

/** Where to reach a registry. `bases` are tried in order until one speaks the protocol; usually there is one. */
export interface Endpoint {
  /** Of the URLs: `name[:port]`. */
  readonly host: string;
  /** Key into the credentials: Docker's for the Hub, else the host. */
  readonly credentialsKey: string;
  /** Without `/v2/`, with a trailing slash. */
  readonly bases: readonly URL[];
  readonly isMirror: boolean;
}

/** What goes to node:tls. */
export interface TlsMaterial {
  readonly ca?: string[];
  readonly cert?: string;
  readonly key?: string;
  readonly verify: boolean;
}

/** Docker's key for the Hub in config.json. */
export const hubCredentialsKey = 'https://index.docker.io/v1/';

/** Turns a reference's domain into addresses, and knows which of them need not be encrypted. */
export class RegistryHosts {
  readonly #settings: RegistriesSettings;
  readonly #certificateDirs: readonly string[];

  constructor(settings: RegistriesSettings = {}) {
    this.#settings = settings;
    this.#certificateDirs = settings['certificate-dirs'] ?? defaultCertificateDirs();
  }

  /** Mirrors first (only to pull), the registry itself last. */
  endpoints(domain: string, options: { forPush?: boolean } = {}): Endpoint[] {
    const mirrors = options.forPush ? [] : (this.#settings.mirrors?.[domain] ?? []);
    return [...mirrors.map((mirror) => this.#mirror(mirror)), this.#origin(domain)];
  }

  plainAllowed(host: string): boolean {
    return isLoopback(host) || this.#isInsecure(host);
  }

  /** Certificates are verified on loopback too: only `insecure` turns that off. */
  tls(host: string): TlsMaterial {
    const own = this.#certificateDirs.map((dir) => readCertificates(join(dir, host)));
    const authorities = own.flatMap((files) => files.authorities);
    const client = own.find((files) => files.client !== undefined)?.client;
    const system = systemAuthorities();
    return {
      // Without a list of our own, Node's: giving one replaces it.
      ...((authorities.length > 0 || system !== undefined) && { ca: [...authorities, ...(system ? [system] : [])] }),
      ...client,
      verify: !this.#isInsecure(host),
    };
  }

  #isInsecure(host: string): boolean {
    const list = this.#settings.insecure ?? [];
    return list.includes(host) || list.includes(hostName(host));
  }

  #origin(domain: string): Endpoint {
    if (domain === 'docker.io') {
      const host = 'registry-1.docker.io';
      const base = new URL(`https://${host}/`);
      return { host, credentialsKey: hubCredentialsKey, bases: [base], isMirror: false };
    }
    return this.#endpoint(domain, '/', false);
  }

  #endpoint(host: string, prefix: string, isMirror: boolean): Endpoint {
    const secure = new URL(`https://${host}${prefix}`);
    const plain = new URL(`http://${host}${prefix}`);
    // On loopback nearly all are plain; a HTTPS server tells at once that it is one. Elsewhere encryption comes first.
    const bases = !this.plainAllowed(host) ? [secure] : isLoopback(host) ? [plain, secure] : [secure, plain];
    return { host, credentialsKey: host, bases, isMirror };
  }

  #mirror(text: string): Endpoint {
    const hasScheme = /^https?:\/\//.test(text);
    if (!URL.canParse(hasScheme ? text : `https://${text}`)) {
      throw new KeelsonError(
        'invalid-argument',
        `registry mirror ${JSON.stringify(text)}: is neither a host nor a URL`,
      );
    }
    const url = new URL(hasScheme ? text : `https://${text}`);
    const prefix = url.pathname.endsWith('/') ? url.pathname : `${url.pathname}/`;
    const found = this.#endpoint(url.host, prefix, true);
    // An address written with its scheme is meant so, http:// too.
    return hasScheme ? { ...found, bases: [new URL(prefix, url)] } : found;
  }
}

/** localhost, *.localhost, 127.0.0.0/8 and ::1, with or without a port. */
export function isLoopback(host: string): boolean {
  const name = hostName(host);
  return /^(.*\.)?localhost$/i.test(name) || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(name) || name === '[::1]';
}

function hostName(host: string): string {
  return host.replace(/:\d+$/, '');
}

function defaultCertificateDirs(): string[] {
  const config = process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config');
  const system = ['/etc/containers/certs.d', '/etc/docker/certs.d'];
  return [join(config, 'containers/certs.d'), join(config, 'docker/certs.d'), ...system];
}

/** `*.crt` are authorities; the first `NAME.cert` with its `NAME.key` is what this client shows of itself. */
function readCertificates(dir: string): { authorities: string[]; client?: { cert: string; key: string } } {
  let names: string[];
  try {
    names = readdirSync(dir).toSorted();
  } catch {
    return { authorities: [] };
  }
  const read = (name: string): string => {
    try {
      return readFileSync(join(dir, name), 'utf8');
    } catch (cause) {
      throw new KeelsonError('invalid-argument', `reading ${join(dir, name)}: ${messageOf(cause)}`, { cause });
    }
  };
  const authorities = names.filter((name) => name.endsWith('.crt')).map(read);
  const cert = names.find((name) => name.endsWith('.cert'));
  if (cert === undefined) return { authorities };
  const key = cert.replace(/\.cert$/, '.key');
  if (!names.includes(key)) {
    throw new KeelsonError('invalid-argument', `${join(dir, cert)}: the key that belongs to it, ${key}, is missing`);
  }
  return { authorities, client: { cert: read(cert), key: read(key) } };
}

let system: string | undefined | null = null;

/** This machine's authorities, where Linux distributions keep them (as Go looks): an administrator's additions are there, not in Node. */
function systemAuthorities(): string | undefined {
  if (system !== null) return system;
  const files = [
    ...(process.env['SSL_CERT_FILE'] === undefined ? [] : [process.env['SSL_CERT_FILE']]),
    '/etc/ssl/certs/ca-certificates.crt',
    '/etc/pki/tls/certs/ca-bundle.crt',
    '/etc/ssl/ca-bundle.pem',
    '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
    '/etc/ssl/cert.pem',
  ];
  system = undefined;
  for (const file of files) {
    try {
      system = readFileSync(file, 'utf8');
      break;
    } catch {
      // Not this distribution's.
    }
  }
  return system;
}
