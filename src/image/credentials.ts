import { execFile } from 'node:child_process';
import { mkdir, open, readFile, realpath, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Context } from '../ground/context.ts';
import { fromSystemError, isKeelsonError, KeelsonError, messageOf } from '../ground/errors.ts';
import { hubCredentialsKey } from './registry-hosts.ts';

/** Who one is at a registry: a name and a password, or an identity token to exchange for access. */
export type Credentials = { readonly username: string; readonly password: string } | { readonly identityToken: string };

interface AuthEntry {
  auth?: string;
  identitytoken?: string;
  [key: string]: unknown;
}

/** The parts of Docker's config.json that matter here; the rest is kept as it is. */
interface ConfigFile {
  auths?: Record<string, AuthEntry>;
  credsStore?: string;
  credHelpers?: Record<string, string>;
  [key: string]: unknown;
}

const maxConfigBytes = 16 << 20;
const helperTimeoutMs = 30_000;

/**
 * Docker's credentials: `config.json` below DOCKER_CONFIG or ~/.docker, its helpers (docker-credential-*), and, to read only, the
 * auth.json of podman, buildah and skopeo.
 */
export class CredentialStore {
  readonly #path: string;
  readonly #alsoRead: readonly string[];

  constructor(options: { configPath?: string } = {}) {
    this.#path = options.configPath ?? join(process.env['DOCKER_CONFIG'] ?? join(homedir(), '.docker'), 'config.json');
    this.#alsoRead = options.configPath === undefined ? containersAuthFiles() : [];
  }

  /** For a key as in Endpoint.credentialsKey; `repository` lets auth.json's entries for a namespace match. */
  async get(context: Context, key: string, repository?: string): Promise<Credentials | undefined> {
    const config = await readConfig(this.#path);
    const helper = helperFor(config, key);
    if (helper !== undefined) {
      // A helper that isn't installed must not stand in the way of public images.
      const found = await askHelper(context, helper, key).catch((error: unknown) => {
        if (!isKeelsonError(error, 'not-found')) throw error;
      });
      if (found) return found;
    }
    const own = entryFor(config.auths, key, repository);
    if (own) return own;
    for (const path of this.#alsoRead) {
      const found = entryFor((await readConfig(path)).auths, key, repository);
      if (found) return found;
    }
    return undefined;
  }

  /** Keeps credentials where the configuration says; tells where that is. */
  async store(context: Context, key: string, credentials: Credentials): Promise<string> {
    const helper = helperFor(await readConfig(this.#path), key);
    if (helper !== undefined) {
      const [Username, Secret] =
        'identityToken' in credentials
          ? ['<token>', credentials.identityToken]
          : [credentials.username, credentials.password];
      await runHelper(context, helper, 'store', JSON.stringify({ ServerURL: key, Username, Secret }));
      return `docker-credential-${helper}`;
    }
    await this.#update((config) => {
      config.auths ??= {};
      config.auths[key] =
        'identityToken' in credentials
          ? { auth: '', identitytoken: credentials.identityToken }
          : { auth: Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64') };
    });
    return this.#path;
  }

  /** Returns false when there were none. */
  async erase(context: Context, key: string): Promise<boolean> {
    const helper = helperFor(await readConfig(this.#path), key);
    const known = helper === undefined ? undefined : await askHelper(context, helper, key);
    if (helper !== undefined && known) await runHelper(context, helper, 'erase', key);
    let erased = known !== undefined;
    await this.#update((config) => {
      for (const each of Object.keys(config.auths ?? {})) {
        if (!sameRegistry(each, key)) continue;
        delete config.auths?.[each];
        erased = true;
      }
      return erased;
    });
    return erased;
  }

  /** Rewrites the file whole: a reader sees the old or the new one. Mode 0600. A link to it stays a link. */
  async #update(change: (config: ConfigFile) => boolean | void): Promise<void> {
    const config = await readConfig(this.#path);
    if (change(config) === false) return;
    const path = await realpath(this.#path).catch(() => this.#path);
    const next = `${path}.${process.pid}.tmp`;
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await rm(next, { force: true });
      const file = await open(next, 'wx', 0o600);
      try {
        await file.writeFile(`${JSON.stringify(config, null, '\t')}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(next, path);
    } catch (error) {
      await rm(next, { force: true });
      throw fromSystemError(error, `writing ${path}`);
    }
  }
}

function containersAuthFiles(): string[] {
  const explicit = process.env['REGISTRY_AUTH_FILE'];
  const runtime = process.env['XDG_RUNTIME_DIR'] ?? `/run/user/${process.getuid?.() ?? 0}`;
  const root = process.getuid?.() === 0 ? ['/run/containers/0/auth.json'] : [];
  const config = process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config');
  return [
    ...(explicit === undefined ? [] : [explicit]),
    ...root,
    join(runtime, 'containers/auth.json'),
    join(config, 'containers/auth.json'),
  ];
}

async function readConfig(path: string): Promise<ConfigFile> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EACCES') return {};
    throw fromSystemError(error, `reading ${path}`);
  }
  const wrong = (why: string, cause?: unknown): KeelsonError =>
    new KeelsonError('invalid-argument', `${path}: ${why}`, { cause });
  if (text.length > maxConfigBytes) throw wrong('is too long');
  if (text.trim() === '') return {};
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch (cause) {
    // The parser's message may quote the text, which holds secrets.
    throw wrong('is not JSON', cause);
  }
  const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isObject(config)) throw wrong('must be an object');
  const { auths, credHelpers } = config as ConfigFile;
  if (auths !== undefined && !isObject(auths)) throw wrong('auths must be an object');
  if (credHelpers !== undefined && !isObject(credHelpers)) throw wrong('credHelpers must be an object');
  return config as ConfigFile;
}

function helperFor(config: ConfigFile, key: string): string | undefined {
  const specific = Object.entries(config.credHelpers ?? {}).find(([registry]) => sameRegistry(registry, key));
  const helper = specific?.[1] ?? config.credsStore;
  if (helper === undefined || helper === '') return undefined;
  if (typeof helper !== 'string' || !/^[A-Za-z0-9_.-]+$/.test(helper)) {
    throw new KeelsonError('invalid-argument', `credential helper ${JSON.stringify(helper)}: is not a program's name`);
  }
  return helper;
}

/** `https://host/v1/`, `http://host`, `host`: Docker wrote all of them over time. */
function sameRegistry(a: string, b: string): boolean {
  return hostOf(a) === hostOf(b);
}

function hostOf(key: string): string {
  const host = key.replace(/^https?:\/\//, '').split('/', 1)[0] ?? '';
  return ['docker.io', 'registry-1.docker.io'].includes(host) ? 'index.docker.io' : host;
}

/** The entry whose key is the longest that covers the repository (`host/namespace`, as containers' auth.json has it), else the host's. */
function entryFor(
  auths: Record<string, AuthEntry> | undefined,
  key: string,
  repository: string | undefined,
): Credentials | undefined {
  const entries = Object.entries(auths ?? {});
  const host = hostOf(key) === hostOf(hubCredentialsKey) ? 'docker.io' : key;
  if (repository !== undefined) {
    for (let scope = `${host}/${repository}`; scope.includes('/'); scope = scope.slice(0, scope.lastIndexOf('/'))) {
      const found = entries.find(([name]) => name === scope);
      if (found) return decode(...found);
    }
  }
  const isHost = (name: string): boolean => /^https?:\/\//.test(name) || !name.includes('/');
  const exact = entries.find(([name]) => name === key);
  const same = exact ?? entries.find(([name]) => isHost(name) && sameRegistry(name, key));
  return same && decode(...same);
}

function decode(name: string, entry: AuthEntry): Credentials | undefined {
  const { auth, identitytoken, username, password } = entry ?? {};
  if (typeof identitytoken === 'string' && identitytoken !== '') return { identityToken: identitytoken };
  if (typeof username === 'string' && typeof password === 'string') return { username, password };
  if (typeof auth !== 'string' || auth === '') return undefined;
  const plain = Buffer.from(auth, 'base64').toString('utf8');
  const colon = plain.indexOf(':');
  if (colon < 0) {
    throw new KeelsonError(
      'invalid-argument',
      `the stored credentials of ${name} can't be read: run \`keelson login\` again`,
    );
  }
  // Docker pads passwords with NULs.
  return { username: plain.slice(0, colon), password: plain.slice(colon + 1).replace(/\0+$/, '') };
}

/** docker-credential-helpers' protocol: the registry on standard input, JSON on standard output. */
async function askHelper(context: Context, helper: string, key: string): Promise<Credentials | undefined> {
  const out = await runHelper(context, helper, 'get', key);
  if (out === undefined) return undefined;
  let answer: { Username?: unknown; Secret?: unknown };
  try {
    answer = JSON.parse(out) as typeof answer;
  } catch (cause) {
    throw new KeelsonError('invalid-argument', `docker-credential-${helper} get: did not answer with JSON`, { cause });
  }
  const { Username, Secret } = answer ?? {};
  if (typeof Secret !== 'string' || typeof Username !== 'string' || Secret === '') return undefined;
  return Username === '<token>' ? { identityToken: Secret } : { username: Username, password: Secret };
}

/** Returns undefined when the helper knows nothing of the registry. */
async function runHelper(
  context: Context,
  helper: string,
  action: 'get' | 'store' | 'erase',
  input: string,
): Promise<string | undefined> {
  const program = `docker-credential-${helper}`;
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
  const options = { timeout: helperTimeoutMs, signal: context.signal, maxBuffer: 1 << 20 };
  const child = execFile(program, [action], options, (error, stdout, stderr) => {
    if (!error) return resolve(stdout);
    if (/credentials not found/i.test(stdout)) return resolve(undefined);
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return reject(
        new KeelsonError('not-found', `${program}: no such program; config.json names it as the keeper of credentials`),
      );
    }
    const said = (stdout.trim() || stderr.trim() || messageOf(error)).slice(0, 500);
    return reject(new KeelsonError('unauthenticated', `${program} ${action}: ${said}`, { cause: error }));
  });
  child.stdin?.on('error', () => {}); // it may end without having read
  child.stdin?.end(`${input}\n`);
  return promise;
}
