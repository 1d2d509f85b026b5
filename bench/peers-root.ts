import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const packages = [
  'busybox-static',
  'ca-certificates',
  'conmon',
  'containerd',
  'crun',
  'docker-cli',
  'docker-registry',
  'docker.io',
  'golang-go',
  'iproute2',
  'iptables',
  'netavark',
  'nftables',
  'podman',
  'procps',
  'runc',
  'skopeo',
];

/**
 * A Debian sid root with the peers in it, made with debootstrap where it isn't there yet ($KEELSON_BENCH_ROOT names another one).
 * golang-go is there for its many small files: they go into the image that is pulled.
 */
export function peersRoot(): string {
  const given = process.env['KEELSON_BENCH_ROOT'];
  if (given) return given;
  const root = '/var/cache/keelson-bench/sid';
  const done = join(root, 'etc/keelson-bench');
  if (existsSync(done) && readFileSync(done, 'utf8') === packages.join(' ')) return root;

  if (!existsSync('/usr/sbin/debootstrap')) {
    run('apt-get', ['update', '-qq']);
    run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'debootstrap']);
  }
  if (!existsSync(root)) {
    const fresh = `${root}.new`;
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(dirname(fresh), { recursive: true });
    run('debootstrap', ['--variant=minbase', 'sid', fresh, mirror()]);
    renameSync(fresh, root);
  }
  // How this machine reaches the archive: proxies and the like.
  run('sh', [
    '-c',
    `cp /etc/resolv.conf ${root}/etc/; cp /etc/apt/apt.conf.d/99* ${root}/etc/apt/apt.conf.d/ 2>/dev/null; true`,
  ]);
  const inside = `export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq --no-install-recommends ${packages.join(' ')}`;
  // Packages must not start their services.
  writeFileSync(join(root, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  run('unshare', [
    '-m',
    '-p',
    '-f',
    'sh',
    '-c',
    `mount -t proc proc ${root}/proc; exec chroot ${root} sh -c '${inside}'`,
  ]);
  writeFileSync(done, packages.join(' '));
  return root;
}

/** The archive that this machine itself installs from. */
function mirror(): string {
  const targets = spawnSync('apt-get', ['indextargets', '--format', '$(SITE)', 'Created-By: Packages'], {
    encoding: 'utf8',
  });
  const site = targets.stdout.split('\n').find((line) => line.endsWith('/debian'));
  return site ?? 'http://deb.debian.org/debian';
}

function run(command: string, args: readonly string[]): void {
  const result = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (result.status !== 0) {
    throw new Error(
      `${command} ${args.slice(0, 3).join(' ')} … failed: ${result.error?.message ?? `exit ${result.status}`}`,
    );
  }
}
