/**
 * A real registry (Debian's docker-registry) on a loopback port, and images in it that other tools have built
 * (buildah, skopeo) around Debian's static busybox.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export interface TestRegistry {
  readonly port: number;
  /** `127.0.0.1:<port>`: the first part of a reference. */
  readonly host: string;
  /** Holds `data` (the registry's storage) and its configuration. */
  readonly dir: string;
  stop(): Promise<void>;
}

export interface RegistryOptions {
  /** PEM files; the registry then speaks HTTPS. `clientCa`: clients must show a certificate of this authority. */
  readonly tls?: { readonly certificate: string; readonly key: string; readonly clientCa?: string };
  /** Basic authentication: lines of an htpasswd file (bcrypt only); `basicUser` below is one. */
  readonly htpasswd?: string;
  /** Bearer tokens, as signed by `rootcertbundle`'s key. */
  readonly token?: {
    readonly realm: string;
    readonly service: string;
    readonly issuer: string;
    readonly rootcertbundle: string;
  };
  /** Serve what this directory holds instead of an empty one. It is left in place by `stop`. */
  readonly storage?: string;
}

/** User `keel`, password `s3cret`, as a line for RegistryOptions.htpasswd. */
export const basicUser = {
  username: 'keel',
  password: 's3cret',
  line: 'keel:$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK',
};

/** Starts a registry on a free loopback port and waits until it listens. */
export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  const dir = await mkdtemp(join(tmpdir(), 'keelson-registry-'));
  const config: Record<string, unknown> = {
    version: '0.1',
    log: { level: 'info', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: options.storage ?? join(dir, 'data') }, delete: { enabled: true } },
    http: {
      addr: '127.0.0.1:0',
      ...(options.tls && {
        tls: {
          certificate: options.tls.certificate,
          key: options.tls.key,
          ...(options.tls.clientCa && { clientcas: [options.tls.clientCa] }),
        },
      }),
    },
  };
  if (options.htpasswd !== undefined) {
    await writeFile(join(dir, 'htpasswd'), `${options.htpasswd}\n`);
    config['auth'] = { htpasswd: { realm: 'keelson test', path: join(dir, 'htpasswd') } };
  }
  if (options.token) config['auth'] = { token: options.token };
  // JSON is YAML.
  await writeFile(join(dir, 'config.yml'), JSON.stringify(config));

  const child = spawn('docker-registry', ['serve', join(dir, 'config.yml')], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env['PATH'], OTEL_TRACES_EXPORTER: 'none' },
  });
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const port = await new Promise<number>((resolve, reject) => {
    let said = '';
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (said.length < 4096) said += `${line}\n`;
      const listening = /listening on .*:(\d+)/.exec(line);
      if (listening) resolve(Number(listening[1]));
    });
    child.once('error', (cause) =>
      reject(new Error('docker-registry is needed: apt-get install docker-registry', { cause })),
    );
    child.once('close', (code) => reject(new Error(`docker-registry ended with ${code}: ${said}`)));
  });
  return {
    port,
    host: `127.0.0.1:${port}`,
    dir,
    async stop(): Promise<void> {
      child.kill('SIGKILL');
      await exited;
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** What `seedImages` puts into a registry: `repository:tag` below `127.0.0.1:<port>/`. */
export const seeded = {
  /** busybox with all its applets, Docker schema 2, one gzip layer, `CMD ["sh"]`. */
  busybox: 'busybox:latest',
  /** The same as OCI manifest: gzip, zstd and uncompressed layer. */
  oci: 'busybox:oci',
  zstd: 'busybox:zstd',
  plain: 'busybox:plain',
  /** OCI index of amd64, arm64/v8 and arm/v7; /etc/arch holds the architecture's name. */
  multi: 'busybox:multi',
  /** Docker manifest list of the same. */
  list: 'busybox:list',
  /**
   * Three layers on top of busybox and a rich config. Layer 2 deletes /etc/deleted, replaces the directory /opt/replaced by an empty one of the
   * same name plus `new`, changes /etc/changed to "two"; layer 3 adds /etc/three. ENTRYPOINT ["/bin/sh","-c"],
   * CMD ["echo $GREETING from $(id -un)"], ENV GREETING=hello, USER app (uid 1000, gid 1000), WORKDIR /home/app, VOLUME /data,
   * EXPOSE 8080/tcp, LABEL org.example.kind=app, STOPSIGNAL SIGINT.
   */
  app: 'team/app:1.0',
} as const;

/**
 * Puts the images of `seeded` into a registry. They are built by buildah and skopeo around busybox-static, which takes some seconds; what the registry
 * then has on disk is kept for the next one (node_modules/.cache/).
 */
export async function seedImages(registry: TestRegistry): Promise<void> {
  const recipe = createHash('sha256');
  for (const file of [import.meta.filename, '/bin/busybox']) recipe.update(await readFile(file));
  const cache = join(import.meta.dirname, '../../node_modules/.cache/keelson-seed');
  const kept = join(cache, recipe.digest('hex').slice(0, 16));
  const data = join(registry.dir, 'data');
  if (!existsSync(kept)) {
    await build(registry);
    await mkdir(cache, { recursive: true });
    const next = await mkdtemp(join(cache, 'new-'));
    await cp(data, join(next, 'data'), { recursive: true });
    // Whoever comes second finds the name taken, and what is there as good.
    await rename(next, kept).catch(async () => rm(next, { recursive: true, force: true }));
    return;
  }
  await cp(join(kept, 'data'), data, { recursive: true });
}

async function build(registry: TestRegistry): Promise<void> {
  await using builder = await ImageBuilder.open();
  const to = (name: string): string => `docker://127.0.0.1:${registry.port}/${name}`;
  const root = await builder.busyboxRoot();

  const single = await builder.from('scratch');
  await builder.buildah('copy', '-q', single, root, '/');
  await builder.buildah('config', '--cmd', '["sh"]', '--env', 'PATH=/usr/local/bin:/usr/bin:/bin', single);
  const docker = await builder.commit(single, 'docker');
  const oci = await builder.commit(single, 'oci');
  await builder.push(docker, to(seeded.busybox), 'v2s2');
  await builder.push(oci, to(seeded.oci), 'oci');
  await builder.buildah('manifest', 'create', 'multi');
  for (const platform of ['linux/amd64', 'linux/arm64/v8', 'linux/arm/v7']) {
    const [os = '', arch = '', variant] = platform.split('/');
    const each = await builder.from(docker);
    await writeFile(join(await builder.mount(each), 'etc/arch'), `${arch}\n`);
    await builder.buildah('config', '--os', os, '--arch', arch, ...(variant ? ['--variant', variant] : []), each);
    const image = await builder.commit(each, 'oci');
    const v = variant ? ['--variant', variant] : [];
    await builder.buildah('manifest', 'add', '--os', os, '--arch', arch, ...v, 'multi', image);
  }
  const pushList = ['manifest', 'push', '--all', '--tls-verify=false', '-q'];
  await builder.buildah(...pushList, '--format', 'oci', 'multi', to(seeded.multi));
  await builder.buildah(...pushList, '--format', 'v2s2', 'multi', to(seeded.list));

  await builder.push(await buildApp(builder, docker), to(seeded.app), 'v2s2');

  // Through directories, copied as they are: pushes to the registry replace a layer by what they know to be there already.
  const layout = (name: string): string => `dir:${join(builder.dir, name)}`;
  await builder.push(oci, layout('plain'), 'oci', '--disable-compression');
  const zstd = ['--dest-compress', '--dest-compress-format', 'zstd'];
  await builder.skopeo('copy', ...zstd, layout('plain'), layout('zstd'));
  for (const name of ['plain', 'zstd'] as const) {
    await builder.skopeo('copy', '--preserve-digests', layout(name), to(seeded[name]));
  }
}

async function buildApp(builder: ImageBuilder, base: string): Promise<string> {
  const first = await builder.from(base);
  const one = await builder.mount(first);
  await writeFile(join(one, 'etc/deleted'), 'gone\n');
  await writeFile(join(one, 'etc/changed'), 'one\n');
  await mkdir(join(one, 'opt/replaced/deep'), { recursive: true });
  await writeFile(join(one, 'opt/replaced/deep/old'), 'old\n');
  await mkdir(join(one, 'home/app'), { recursive: true });
  await mkdir(join(one, 'data'));
  await writeFile(join(one, 'data/seed'), 'from the image\n');
  const second = await builder.from(await builder.commit(first, 'docker'));
  const two = await builder.mount(second);
  await rm(join(two, 'etc/deleted'));
  await writeFile(join(two, 'etc/changed'), 'two\n');
  await rm(join(two, 'opt/replaced'), { recursive: true });
  await mkdir(join(two, 'opt/replaced'));
  await writeFile(join(two, 'opt/replaced/new'), 'new\n');
  const third = await builder.from(await builder.commit(second, 'docker'));
  await writeFile(join(await builder.mount(third), 'etc/three'), 'three\n');
  const config =
    `--user app --workingdir /home/app --volume /data --port 8080/tcp --stop-signal SIGINT ` +
    `--env GREETING=hello --label org.example.kind=app`;
  await builder.buildah('config', ...config.split(' '), '--entrypoint', '["/bin/sh","-c"]', third);
  await builder.buildah('config', '--cmd', '["echo $GREETING from $(id -un)"]', third);
  return builder.commit(third, 'docker');
}

/** buildah with a storage of its own, removed at the end. */
export class ImageBuilder implements AsyncDisposable {
  readonly dir: string;
  private constructor(dir: string) {
    this.dir = dir;
  }

  static async open(): Promise<ImageBuilder> {
    return new ImageBuilder(await mkdtemp(join(tmpdir(), 'keelson-buildah-')));
  }

  async buildah(...args: string[]): Promise<string> {
    const storage = [
      '--root',
      join(this.dir, 'storage'),
      '--runroot',
      join(this.dir, 'run'),
      '--storage-driver',
      'vfs',
    ];
    const { stdout } = await execute('buildah', [...storage, ...args], { maxBuffer: 1 << 26 });
    return stdout.trim();
  }

  async skopeo(command: string, ...args: string[]): Promise<string> {
    const tls = command === 'copy' ? ['--src-tls-verify=false', '--dest-tls-verify=false'] : ['--tls-verify=false'];
    const { stdout } = await execute('skopeo', [command, ...tls, ...args], { maxBuffer: 1 << 26 });
    return stdout.trim();
  }

  /** Returns the working container's name. */
  from(image: string): Promise<string> {
    return this.buildah('from', '--pull-never', image);
  }

  /** The working container's root directory (a plain directory: storage is vfs). */
  mount(container: string): Promise<string> {
    return this.buildah('mount', container);
  }

  /** Returns the image's id. */
  commit(container: string, format: 'oci' | 'docker'): Promise<string> {
    return this.buildah('commit', '-q', '--format', format, container);
  }

  async push(image: string, destination: string, format: 'oci' | 'v2s2', ...options: string[]): Promise<void> {
    await this.buildah('push', '-q', '--tls-verify=false', '--format', format, ...options, image, destination);
  }

  /** A directory with a root file system: busybox's applets, /etc/passwd and group (root, app), /tmp. */
  async busyboxRoot(): Promise<string> {
    const root = join(this.dir, 'rootfs');
    for (const name of ['bin', 'dev', 'etc', 'home', 'proc', 'root', 'sys', 'tmp', 'usr/bin', 'var']) {
      await mkdir(join(root, name), { recursive: true });
    }
    await chmod(join(root, 'tmp'), 0o1777);
    await chmod(join(root, 'root'), 0o700);
    await copyFile('/bin/busybox', join(root, 'bin/busybox'));
    const { stdout } = await execute('/bin/busybox', ['--list']);
    for (const applet of stdout.split('\n')) {
      if (applet !== '' && applet !== 'busybox') await symlink('busybox', join(root, 'bin', applet));
    }
    await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n');
    await writeFile(join(root, 'etc/group'), 'root:x:0:\napp:x:1000:\nextra:x:2000:app\n');
    return root;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }
}
