import type { Context } from '../ground/context.ts';
import { loadSettings, type RegistriesSettings } from '../spec/settings.ts';
import { type Credentials, CredentialStore } from './credentials.ts';
import { HttpClient } from './http-client.ts';
import { RegistryClient } from './registry-client.ts';
import { type Endpoint, RegistryHosts } from './registry-hosts.ts';
import { defaultRetry, type RetryPolicy } from './retry.ts';

export interface RegistriesOptions {
  /** What keelson.toml says; read from there, when it is first needed, where absent. */
  readonly settings?: RegistriesSettings;
  readonly credentials?: CredentialStore;
  readonly retry?: RetryPolicy;
  /** How long a connection may stay without a byte. */
  readonly silenceMs?: number;
}

/** Docker asks for another try after half a minute of silence too. */
const defaultSilenceMs = 30_000;

/** Every registry there is: makes clients that share connections, certificates and credentials. */
export class Registries implements Disposable {
  readonly credentials: CredentialStore;
  readonly retry: RetryPolicy;
  readonly #silenceMs: number;
  #settings: RegistriesSettings | undefined;
  #ready: Promise<{ hosts: RegistryHosts; http: HttpClient }> | undefined;

  constructor(options: RegistriesOptions = {}) {
    this.#settings = options.settings;
    this.credentials = options.credentials ?? new CredentialStore();
    this.retry = options.retry ?? defaultRetry;
    this.#silenceMs = options.silenceMs ?? defaultSilenceMs;
  }

  /** Layers at once, as configured; Docker's defaults until the settings are known. */
  get maxDownloads(): number {
    return this.#settings?.['max-concurrent-downloads'] ?? 3;
  }

  get maxUploads(): number {
    return this.#settings?.['max-concurrent-uploads'] ?? 5;
  }

  /** Where to pull a repository from, in order: mirrors, then the registry. `given`: instead of stored credentials, for the registry alone. */
  async forPull(context: Context, domain: string, repository: string, given?: Credentials): Promise<RegistryClient[]> {
    const { hosts } = await this.#open();
    return Promise.all(
      hosts
        .endpoints(domain)
        .map(async (endpoint) => this.#client(context, endpoint, repository, endpoint.isMirror ? undefined : given)),
    );
  }

  async forPush(context: Context, domain: string, repository: string, given?: Credentials): Promise<RegistryClient> {
    return this.#client(context, await this.#origin(domain), repository, given);
  }

  /** Checks the credentials with the registry and stores them; returns where. */
  async login(context: Context, domain: string, credentials: Credentials): Promise<string> {
    const endpoint = await this.#origin(domain);
    const client = await this.#client(context, endpoint, undefined, credentials);
    const identityToken = await client.login(context);
    const lasting = identityToken === undefined ? credentials : { identityToken };
    return this.credentials.store(context, endpoint.credentialsKey, lasting);
  }

  /** Returns false when there were no credentials for it. */
  async logout(context: Context, domain: string): Promise<boolean> {
    return this.credentials.erase(context, (await this.#origin(domain)).credentialsKey);
  }

  async #open(): Promise<{ hosts: RegistryHosts; http: HttpClient }> {
    this.#ready ??= this.#load();
    this.#ready.catch(() => {
      this.#ready = undefined;
    });
    return this.#ready;
  }

  async #load(): Promise<{ hosts: RegistryHosts; http: HttpClient }> {
    this.#settings ??= (await loadSettings()).registries ?? {};
    const hosts = new RegistryHosts(this.#settings);
    const http = new HttpClient({
      tls: (host) => hosts.tls(host),
      plainAllowed: (host) => hosts.plainAllowed(host),
      silenceMs: this.#silenceMs,
    });
    return { hosts, http };
  }

  async #origin(domain: string): Promise<Endpoint> {
    const { hosts } = await this.#open();
    return hosts.endpoints(domain, { forPush: true })[0] as Endpoint;
  }

  async #client(
    context: Context,
    endpoint: Endpoint,
    repository: string | undefined,
    given: Credentials | undefined,
  ): Promise<RegistryClient> {
    const { hosts, http } = await this.#open();
    let asked: Promise<Credentials | undefined> | undefined;
    return new RegistryClient({
      ...{ endpoint, http },
      plainAllowed: (host) => hosts.plainAllowed(host),
      credentials: async () => {
        asked ??= given ? Promise.resolve(given) : this.credentials.get(context, endpoint.credentialsKey, repository);
        return asked;
      },
      // Another place to pull from comes next: not much patience with a mirror.
      retry: endpoint.isMirror ? { ...this.retry, attempts: Math.min(2, this.retry.attempts) } : this.retry,
    });
  }

  [Symbol.dispose](): void {
    void this.#ready?.then(({ http }) => http[Symbol.dispose]());
  }
}
