import { debianRoot } from '../test/support/debian-root.ts';

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
 * A Debian sid root with the peers in it ($KEELSON_BENCH_ROOT names another one). golang-go is there for its many small files: they go into
 * the image that is pulled.
 */
export function peersRoot(): string {
  const given = process.env['KEELSON_BENCH_ROOT'];
  return given ? given : debianRoot({ directory: '/var/cache/keelson-bench/sid', suite: 'sid', packages });
}
