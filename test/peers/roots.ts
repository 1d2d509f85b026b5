/** The two generations of peers: Debian 12's own, and the current ones from sid. */
import { join } from 'node:path';
import { debianRoot } from '../support/debian-root.ts';

export const suites = ['bookworm', 'sid'] as const;
export type Suite = (typeof suites)[number];

const common = [
  'buildah',
  'busybox-static',
  'ca-certificates',
  'catatonit',
  'conmon',
  'containerd',
  'crun',
  'docker.io',
  'iproute2',
  'iptables',
  'netavark',
  'nftables',
  'podman',
  'procps',
  'runc',
  'tini',
  'uidmap',
];

const packages: Readonly<Record<Suite, readonly string[]>> = {
  bookworm: common,
  sid: [...common, 'docker-cli'],
};

/** A root with the peers; kept outside the checkout, since it takes minutes to make ($KEELSON_PEERS_CACHE names another directory). */
export function peersRoot(suite: Suite): string {
  const cache = process.env['KEELSON_PEERS_CACHE'] ?? '/var/cache/keelson-peers';
  return debianRoot({ directory: join(cache, suite), suite, packages: packages[suite] });
}
