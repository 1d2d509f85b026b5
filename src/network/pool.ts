/** Which addresses a network uses: chosen so that nothing the host can reach is hidden, kept once it is in use. */
import { randomBytes } from '../ground/crypto.ts';
import { KeelsonError } from '../ground/errors.ts';
import { addressAt, formatIp, formatPrefix, parsePrefix, prefixesOverlap, tryParseIp } from '../kernel/ip-address.ts';
import type { HostRange, Pools } from '../store/network.ts';
import type { HostNetwork } from './host-network.ts';
import type { Addresses } from './types.ts';

/**
 * Private networks in the order of preference: none that docker (172.17 to 172.31, 192.168), podman (10.88, 10.89), Kubernetes'
 * usual set-ups (10.96, 10.244, 10.42, 10.43), libvirt (192.168.122) or many an office (10.0, 10.1) begin with.
 */
const candidates: readonly string[] = [
  ...[77, 78, 79, 87, 90, 91, 92, 93, 117, 118, 119, 127, 177, 178, 179, 187].map((n) => `10.${n}.0.0/16`),
  '172.30.0.0/16',
  '172.31.0.0/16',
  '192.168.176.0/20',
  '192.168.208.0/20',
];

/** Host numbers: 0 is the network's, 1 the gateway's, the last of IPv4 is for broadcasts. */
export function hostRange({ pool }: Pools): HostRange {
  return { first: 2, last: 2 ** (32 - parsePrefix(pool).length) - 2 };
}

/**
 * The address space of a bridge. One that exists decides itself: other data roots may be using it too, so that this one begins at
 * a place of its own. Else the recorded one stays unless the host has come to reach something there. Throws `exhausted` when
 * every candidate is taken.
 */
export function choosePools(
  bridge: string,
  host: HostNetwork,
  recorded: Pools | undefined,
  options: { pool?: string; random?: (size: number) => Uint8Array } = {},
): Pools & { begin?: number } {
  const random = options.random ?? randomBytes;
  const existing = host.routes.find((route) => route.link === bridge && !route.gateway)?.destination;
  const existing6 = host.prefixes6.find(({ link }) => link === bridge)?.prefix;
  if (existing) {
    const pool = formatPrefix(existing);
    const { first, last } = hostRange({ pool, pool6: '' });
    const [high = 0, low = 0] = random(2);
    return { pool, pool6: existing6 ?? '', begin: first + ((high * 256 + low) % (last - first + 1)) };
  }
  const pool6 = host.ipv6 ? recorded?.pool6 || uniqueLocal(random) : '';
  const wanted = options.pool ?? (recorded && isFree(recorded.pool, host) ? recorded.pool : undefined);
  const pool = wanted ?? candidates.find((candidate) => isFree(candidate, host));
  if (pool !== undefined) return { pool, pool6 };
  throw new KeelsonError(
    'exhausted',
    `no address pool for ${bridge}: all of ${candidates.length} private networks overlap with routes of this host`,
  );
}

function isFree(pool: string, host: HostNetwork): boolean {
  const prefix = parsePrefix(pool);
  const inside = (address: string): boolean => {
    const bytes = tryParseIp(address);
    return bytes?.length === 4 && prefixesOverlap(prefix, { address: bytes, length: 32 });
  };
  return !host.routes.some((route) => prefixesOverlap(prefix, route.destination)) && !host.nameServers.some(inside);
}

/** A /64 of a random unique local prefix: RFC 4193, section 3.2. */
function uniqueLocal(random: (size: number) => Uint8Array): string {
  return formatPrefix({ address: Uint8Array.from([0xfd, ...random(5), ...new Uint8Array(10)]), length: 64 });
}

/** The addresses of the container with host number `host`; IPv6 has the same number in its own prefix. */
export function addressesOf(pools: Pools, host: number): Addresses {
  const pool = parsePrefix(pools.pool);
  const pool6 = pools.pool6 === '' ? undefined : parsePrefix(pools.pool6);
  const ip = addressAt(pool, host);
  return {
    ip: formatIp(ip),
    prefixLength: pool.length,
    gateway: formatIp(addressAt(pool, 1)),
    ip6: pool6 ? formatIp(addressAt(pool6, host)) : '',
    prefixLength6: pool6?.length ?? 0,
    gateway6: pool6 ? formatIp(addressAt(pool6, 1)) : '',
    mac: macOf(ip),
  };
}

/** Locally administered, made from the IPv4 address: 02:42 and its four bytes, as docker's have long been. */
export function macOf(ip: Uint8Array): string {
  return ['02', '42', ...Array.from(ip, (byte) => byte.toString(16).padStart(2, '0'))].join(':');
}
