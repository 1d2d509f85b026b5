/** Debian root directories with other people's container programs in them, made once with debootstrap and kept. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface DebianRoot {
  readonly directory: string;
  readonly suite: string;
  readonly packages: readonly string[];
}

/** Makes the root where it isn't there yet, or was made with other packages. Needs root. Throws when the archive can't be had. */
export function debianRoot({ directory, suite, packages }: DebianRoot): string {
  const done = join(directory, 'etc/keelson-packages');
  const wanted = [suite, ...packages].join(' ');
  if (existsSync(done) && readFileSync(done, 'utf8') === wanted) return directory;

  if (!existsSync('/usr/sbin/debootstrap')) {
    run('apt-get', ['update', '-qq']);
    run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'debootstrap']);
  }
  if (!existsSync(directory)) {
    const fresh = `${directory}.new`;
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(dirname(fresh), { recursive: true });
    // In a mount namespace of its own: what it mounts below the root goes with it.
    run('unshare', ['-m', 'debootstrap', '--variant=minbase', suite, fresh, mirror()]);
    renameSync(fresh, directory);
  }
  // How this machine reaches the archive: proxies and the like.
  run('sh', [
    '-c',
    `cp /etc/resolv.conf ${directory}/etc/; cp /etc/apt/apt.conf.d/99* ${directory}/etc/apt/apt.conf.d/ 2>/dev/null; true`,
  ]);
  // A root that can be made again needs no care on a crash, and nobody reads its manuals.
  writeFileSync(
    join(directory, 'etc/dpkg/dpkg.cfg.d/keelson'),
    ['doc', 'man', 'locale', 'info'].map((name) => `path-exclude=/usr/share/${name}/*\n`).join('') +
      'force-unsafe-io\n',
  );
  // Packages must not start their services.
  writeFileSync(join(directory, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const inside = `export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq --no-install-recommends ${packages.join(' ')} && apt-get clean`;
  run('unshare', [
    ...['-m', '-p', '-f', 'sh', '-c'],
    `mount -t proc proc ${directory}/proc; exec chroot ${directory} sh -c '${inside}'`,
  ]);
  writeFileSync(done, wanted);
  return directory;
}

/** The archive that this machine itself installs from. */
function mirror(): string {
  const targets = spawnSync('apt-get', ['indextargets', '--format', '$(SITE)', 'Created-By: Packages'], {
    encoding: 'utf8',
  });
  const site = targets.stdout?.split('\n').find((line) => line.endsWith('/debian'));
  return site ?? 'http://deb.debian.org/debian';
}

function run(command: string, args: readonly string[]): void {
  // Not inherited: in a test run standard output is the report's.
  const result = spawnSync(command, args, { stdio: ['ignore', 2, 2] });
  if (result.status !== 0) {
    throw new Error(
      `${command} ${args.slice(0, 3).join(' ')} … failed: ${result.error?.message ?? `exit ${result.status}`}`,
    );
  }
}
