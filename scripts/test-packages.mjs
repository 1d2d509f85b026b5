// The Debian packages that the tests' peers come from. Installs those that are missing where that can be done.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/** Packages by the purpose that lanes name. */
const packages = {
  integration: [
    'attr',
    'buildah',
    'busybox-static',
    'ca-certificates',
    'docker-registry',
    'iproute2',
    'nftables',
    'openssl',
    'procps',
    'python3',
    'skopeo',
    'strace',
    'uidmap',
    'zstd',
  ],
  peers: ['debootstrap', 'iproute2'],
  sanitizers: ['clang', 'libclang-rt-14-dev'],
  machine: ['busybox-static', 'e2fsprogs', 'iproute2', 'nftables', 'qemu-system-x86', 'uidmap'],
};

function missing(names) {
  const query = spawnSync('dpkg-query', ['-W', '-f', '${Package} ${db:Status-Status}\\n', ...names], {
    encoding: 'utf8',
  });
  const installed = new Set(
    (query.stdout ?? '').split('\n').flatMap((line) => (line.endsWith(' installed') ? [line.split(' ')[0]] : [])),
  );
  return names.filter((name) => !installed.has(name));
}

/** Installs what `purposes` need. Returns why it can't, or undefined when everything is there. */
export function ensurePackages(purposes) {
  const names = [...new Set(purposes.flatMap((purpose) => packages[purpose]))].sort();
  if (names.length === 0) return undefined;
  const debian = existsSync('/etc/debian_version') && existsSync('/usr/bin/dpkg-query');
  if (!debian) return `this is not Debian: its packages ${names.join(', ')} can't be had`;
  const wanted = missing(names);
  if (wanted.length === 0) return undefined;
  if (process.getuid() !== 0) return `not root: can't install ${wanted.join(', ')}`;
  console.log(`installing ${wanted.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' };
  const apt = (...args) =>
    spawnSync('apt-get', ['-qq', '-o', 'DPkg::Lock::Timeout=300', '-o', 'Acquire::Retries=3', ...args], {
      env,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    });
  apt('update');
  const install = apt('install', '-y', '--no-install-recommends', ...wanted);
  const still = missing(names);
  if (still.length === 0) return undefined;
  const reason = `${install.stdout ?? ''}\n${install.stderr ?? ''}`.trim().split('\n').slice(-5).join('\n');
  return `apt-get could not install ${still.join(', ')}: ${reason}`;
}

/** The machine's distribution, for messages. */
export function distribution() {
  try {
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}
