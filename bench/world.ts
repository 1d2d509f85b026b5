/** The peers' daemons and the registry, inside the root of enter.sh. They end with the process namespace. */
import { spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { run } from './process.ts';

export const registry = '127.0.0.1:5000';
const data = '/var/lib/keelson-bench';
const logs = '/run/keelson-bench';
const containerdSocket = `${logs}/containerd/containerd.sock`;

export const docker = ['docker'] as const;
export const podman = ['podman'] as const;
export const ctr = ['ctr', '-a', containerdSocket] as const;
export const dockerSocket = '/run/docker.sock';

export async function startWorld(): Promise<void> {
  for (const path of [data, logs, `${data}/registry`]) mkdirSync(path, { recursive: true });
  configurePodman();
  writeFileSync(
    `${logs}/registry.json`,
    JSON.stringify({
      version: '0.1',
      log: { level: 'error', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: `${data}/registry` }, delete: { enabled: true } },
      http: { addr: registry },
    }),
  );
  writeFileSync(
    `${logs}/containerd.toml`,
    [
      'version = 3',
      `root = '${data}/containerd'`,
      `state = '${logs}/containerd'`,
      `[grpc]\naddress = '${containerdSocket}'`,
      '[debug]\nlevel = "error"',
    ].join('\n'),
  );
  daemon('registry', ['docker-registry', 'serve', `${logs}/registry.json`]);
  daemon('containerd', ['containerd', '--config', `${logs}/containerd.toml`]);
  daemon('dockerd', [
    'dockerd',
    '--data-root',
    `${data}/docker`,
    '-H',
    `unix://${dockerSocket}`,
    '--log-level',
    'error',
  ]);
  await until('the registry', async () => (await fetch(`http://${registry}/v2/`)).ok);
  await until('containerd', async () => run([...ctr, 'version']));
  await until('dockerd', async () => run([...docker, 'version']));
}

export interface Versions {
  readonly [peer: string]: string;
}

export async function versions(): Promise<Versions> {
  const of = async (...command: [string, ...string[]]): Promise<string> => {
    const { stdout } = await run(command);
    return /\d+\.\d+(\.\d+)*/.exec(stdout)?.[0] ?? stdout.trim();
  };
  return {
    docker: await of('dockerd', '--version'),
    podman: await of('podman', '--version'),
    containerd: await of('containerd', '--version'),
    crun: await of('crun', '--version'),
    runc: await of('runc', '--version'),
    conmon: await of('conmon', '--version'),
  };
}

function configurePodman(): void {
  // No systemd, cgroup v1: what podman would otherwise find out with a warning per command.
  writeFileSync(
    `${logs}/containers.conf`,
    '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "crun"\n',
  );
  writeFileSync(
    `${logs}/storage.conf`,
    `[storage]\ndriver = "overlay"\ngraphroot = "${data}/podman"\nrunroot = "${logs}/podman"\n`,
  );
  writeFileSync(`${logs}/registries.conf`, `[[registry]]\nlocation = "${registry}"\ninsecure = true\n`);
  writeFileSync(`${logs}/policy.json`, '{"default":[{"type":"insecureAcceptAnything"}]}');
  mkdirSync('/etc/containers', { recursive: true });
  process.env['CONTAINERS_CONF'] = `${logs}/containers.conf`;
  process.env['CONTAINERS_STORAGE_CONF'] = `${logs}/storage.conf`;
  process.env['CONTAINERS_REGISTRIES_CONF'] = `${logs}/registries.conf`;
  process.env['PODMAN_IGNORE_CGROUPSV1_WARNING'] = '1';
}

const logPath = (name: string): string => `${logs}/${name}.log`;

function daemon(name: string, command: readonly [string, ...string[]]): void {
  const log = openSync(logPath(name), 'w');
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', log, log] });
  child.once('exit', (code) => {
    console.error(`bench: ${name} ended with ${code}:\n${readFileSync(logPath(name), 'utf8').slice(-2000)}`);
    process.exit(1);
  });
  child.unref();
}

async function until(what: string, works: () => Promise<unknown>): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    try {
      if (await works()) return;
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`${what} does not answer`, { cause: error });
    }
    await sleep(100);
  }
}
