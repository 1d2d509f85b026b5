/** The peers' configuration, their daemons and one image, inside the root of enter.sh. All of it ends with the process namespace. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { run, until } from './process.ts';

export const runtimes = ['runc', 'crun', 'keelson-oci'] as const;
export type Runtime = (typeof runtimes)[number];

export function runtimePath(runtime: Runtime): string {
  const places = [`/keelson/bin/${runtime}`, `/usr/sbin/${runtime}`, `/usr/bin/${runtime}`];
  const found = places.find((path) => existsSync(path));
  if (found === undefined) throw new Error(`${runtime} is nowhere`);
  return found;
}

export const image = 'docker.io/library/peer:1';
/** Of the daemon that maps user IDs. */
export const remapHost = 'unix:///run/docker-remap.sock';
const archive = '/data/image.tar';
const logs = '/data/log';

export async function startWorld(): Promise<void> {
  mkdirSync(logs, { recursive: true });
  configure();
  mkdirSync('/tmp/shared', { recursive: true });
  writeFileSync('/tmp/shared/file', 'text\n');
  await makeImage();
  daemon('containerd', ['containerd', '--config', '/etc/containerd.toml']);
  await answers('containerd', ['ctr', 'version']);
  const added = runtimes.filter((name) => name !== 'runc').map((name) => `--add-runtime=${name}=${runtimePath(name)}`);
  // First, since a daemon without a bridge removes the other's.
  const remapped = [
    ...['dockerd', '--userns-remap=containers', `--host=${remapHost}`, '--pidfile=/run/docker-remap.pid'],
    ...['--data-root=/data/docker-remap', '--exec-root=/run/docker-remap', '--containerd-namespace=remap'],
    ...['--containerd=/run/containerd/containerd.sock', '--bridge=none', '--iptables=false', ...added],
  ];
  daemon('dockerd-remap', remapped);
  await answers('dockerd-remap', ['docker', '--host', remapHost, 'version'], 30);
  const docker = ['dockerd', '--data-root=/data/docker', '--containerd=/run/containerd/containerd.sock', ...added];
  daemon('dockerd', docker);
  try {
    await answers('dockerd', ['docker', 'version'], 30);
  } catch {
    // Not every kernel has what a bridge needs; tasks that want one then fail with every runtime.
    daemon('dockerd', [...docker, '--bridge=none', '--iptables=false', '--ip6tables=false']);
    await answers('dockerd', ['docker', 'version'], 30);
  }
  for (const load of [
    ['docker', 'load', '-i', archive],
    ['docker', '--host', remapHost, 'load', '-i', archive],
    ['podman', 'load', '-i', archive],
    ['ctr', 'image', 'import', archive],
  ]) {
    const { code, stderr } = await run(load);
    if (code !== 0) throw new Error(`${load.join(' ')}: ${stderr}`);
  }
}

export async function versions(): Promise<Record<string, string>> {
  const of = async (...command: string[]): Promise<string> => {
    const { stdout } = await run(command);
    return /\d+\.\d+(\.\d+)*/.exec(stdout)?.[0] ?? 'unknown';
  };
  const names = ['runc', 'crun', 'podman', 'conmon', 'containerd', 'dockerd', 'buildah'];
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await of(name, '--version')] as const)));
}

function configure(): void {
  mkdirSync('/etc/containers', { recursive: true });
  const known = runtimes.map((name) => `${name} = ["${runtimePath(name)}"]`);
  // podman asks by name for what it takes for granted with runc and crun.
  const abilities = ['json', 'nocgroup'].map((what) => `runtime_supports_${what} = ["runc", "crun", "keelson-oci"]\n`);
  writeFileSync(
    '/etc/containers/containers.conf',
    `[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n${abilities.join('')}[engine.runtimes]\n${known.join('\n')}\n`,
  );
  writeFileSync(
    '/etc/containers/storage.conf',
    '[storage]\ndriver = "overlay"\ngraphroot = "/data/podman"\nrunroot = "/run/podman-storage"\n',
  );
  writeFileSync('/etc/containers/policy.json', '{"default":[{"type":"insecureAcceptAnything"}]}');
  // Whose IDs podman takes for --userns=auto, and docker for --userns-remap.
  appendFileSync('/etc/group', 'containers:x:990:\n');
  appendFileSync('/etc/passwd', 'containers:x:990:990::/nonexistent:/usr/sbin/nologin\n');
  for (const file of ['/etc/subuid', '/etc/subgid']) appendFileSync(file, 'containers:2147483647:1048576\n');
  writeFileSync(
    '/etc/containerd.toml',
    'version = 2\nroot = "/data/containerd"\nstate = "/run/containerd"\n[grpc]\naddress = "/run/containerd/containerd.sock"\n',
  );
  process.env['PODMAN_IGNORE_CGROUPSV1_WARNING'] = '1';
}

/** Busybox with two users, as an archive of docker's. */
async function makeImage(): Promise<void> {
  const script = `set -e; mkdir -p /data/image/root; cd /data/image/root
mkdir -p bin etc tmp data root home/user; chmod 1777 tmp; cp /usr/bin/busybox bin/
for applet in $(busybox --list); do [ -e bin/$applet ] || ln -s busybox bin/$applet; done
printf 'root:x:0:0:root:/root:/bin/sh\\nuser:x:1000:1000:user:/home/user:/bin/sh\\n' > etc/passwd
printf 'root:x:0:\\nuser:x:1000:\\nextra:x:2000:user\\n' > etc/group
echo text > etc/plain; tar -cf ../layer.tar .`;
  const made = await run(['sh', '-c', script]);
  if (made.code !== 0) throw new Error(`making the image: ${made.stderr}`);
  const diff = createHash('sha256').update(readFileSync('/data/image/layer.tar')).digest('hex');
  const config = {
    ...{ architecture: process.arch === 'x64' ? 'amd64' : 'arm64', os: 'linux' },
    config: { Cmd: ['/bin/sh'], Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: [`sha256:${diff}`] },
    history: [{ created_by: 'test' }],
  };
  writeFileSync('/data/image/config.json', JSON.stringify(config));
  const manifest = [{ Config: 'config.json', RepoTags: [image], Layers: ['layer.tar'] }];
  writeFileSync('/data/image/manifest.json', JSON.stringify(manifest));
  await run(['tar', '-C', '/data/image', '-cf', archive, 'config.json', 'manifest.json', 'layer.tar']);
}

function daemon(name: string, command: readonly string[]): void {
  const log = openSync(`${logs}/${name}`, 'w');
  const [file = '', ...args] = command;
  spawn(file, args, { stdio: ['ignore', log, log] }).unref();
}

async function answers(name: string, command: readonly string[], seconds = 60): Promise<void> {
  const code = await until(
    async () => `${(await run(command)).code}`,
    (answer) => answer === '0',
    seconds,
  );
  if (code !== '0') {
    const log = readFileSync(`${logs}/${name}`, 'utf8').trim().split('\n').slice(-12).join('\n');
    throw new Error(`${name} does not answer:\n${log}`);
  }
}
