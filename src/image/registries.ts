import type { Context } from '../ground/context.ts';
import { type Credentials, CredentialStore } from './credentials.ts';
import { HttpClient } from './http-client.ts';
import { RegistryClient } from './registry-client.ts';
import { type Endpoint, RegistryHosts, type RegistrySettings } from './registry-hosts.ts';
import { defaultRetry, type RetryPolicy } from './retry.ts';

export interface RegistriesOptions {
  readonly settings?: RegistrySettings;
  readonly credentials?: CredentialStore;
  readonly retry?: RetryPolicy;
  /** How long a connection may stay without a byte. */
  readonly silenceMs?: number;
}

/** Docker asks for another try after half a minute of silence too. */
const defaultSilenceMs = 30_000;

/** Every registry there is: makes clients that share connections, certificates and credentials. */
export class Registries implements Disposable {
  readonly hosts: RegistryHosts;
  readonly credentials: CredentialStore;
  readonly retry: RetryPolicy;
  readonly #http: HttpClient;

  constructor(options: RegistriesOptions = {}) {
    this.hosts = new RegistryHosts(options.settings);
    this.credentials = options.credentials ?? new CredentialStore();
    this.retry = options.retry ?? defaultRetry;
    this.#http = new HttpClient({
      tls: (host) => this.hosts.tls(host),
      plainAllowed: (host) => this.hosts.plainAllowed(host),
      silenceMs: options.silenceMs ?? defaultSilenceMs,
    });
  }

  /** Where to pull a repository from, in order: mirrors, then the registry. `given`: instead of stored credentials, for the registry alone. */
  forPull(context: Context, domain: string, repository: string, given?: Credentials): RegistryClient[] {
    return this.hosts
      .endpoints(domain)
      .map((endpoint) => this.#client(context, endpoint, repository, endpoint.isMirror ? undefined : given));
  }

  forPush(context: Context, domain: string, repository: string, given?: Credentials): RegistryClient {
    return this.#client(context, this.#origin(domain), repository, given);
  }

  /** Checks the credentials with the registry and stores them; returns where. */
  async login(context: Context, domain: string, credentials: Credentials): Promise<string> {
    const endpoint = this.#origin(domain);
    const identityToken = await this.#client(context, endpoint, undefined, credentials).login(context);
    const lasting = identityToken === undefined ? credentials : { identityToken };
    return this.credentials.store(context, endpoint.credentialsKey, lasting);
  }

  /** Returns false when there were no credentials for it. */
  async logout(context: Context, domain: string): Promise<boolean> {
    return this.credentials.erase(context, this.#origin(domain).credentialsKey);
  }

  #origin(domain: string): Endpoint {
    return this.hosts.endpoints(domain, { forPush: true })[0] as Endpoint;
  }

  #client(
    context: Context,
    endpoint: Endpoint,
    repository: string | undefined,
    given: Credentials | undefined,
  ): RegistryClient {
    let asked: Promise<Credentials | undefined> | undefined;
    return new RegistryClient({
      endpoint,
      http: this.#http,
      plainAllowed: (host) => this.hosts.plainAllowed(host),
      credentials: async () => {
        asked ??= given ? Promise.resolve(given) : this.credentials.get(context, endpoint.credentialsKey, repository);
        return asked;
      },
      // Another place to pull from comes next: not much patience with a mirror.
      retry: endpoint.isMirror ? { ...this.retry, attempts: Math.min(2, this.retry.attempts) } : this.retry,
    });
  }

  [Symbol.dispose](): void {
    this.#http[Symbol.dispose]();
  }
}
