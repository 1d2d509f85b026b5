/**
 * What this process's network namespace looks like, from files of /proc: no process, no socket, tens of microseconds.
 * /proc/net and /proc/sys/net show the reader's own namespace, whichever mount they are read through.
 */
import { readFileSync } from 'node:fs';
import { formatPrefix, maskByte, type Prefix } from '../kernel/ip-address.ts';

export interface HostRoute {
  readonly link: string;
  readonly destination: Prefix;
  readonly gateway: boolean;
}

export interface HostNetwork {
  readonly ipv6: boolean;
  /** IPv4 routes of the main table but the default one. */
  readonly routes: readonly HostRoute[];
  /** Prefixes of a link's global IPv6 addresses. */
  readonly prefixes6: readonly { readonly link: string; readonly prefix: string }[];
  readonly forwarding4: boolean;
  readonly forwarding6: boolean;
  /** The default IPv6 route was learnt by the kernel from router advertisements, which it ignores once it forwards. */
  readonly defaultRoute6Advertised: boolean;
  /** Name servers of /etc/resolv.conf: an address pool must not hide them. */
  readonly nameServers: readonly string[];
}

type Read = (path: string) => string;

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** `read` returns '' for what isn't there. */
export function readHostNetwork(read: Read = readText): HostNetwork {
  const addresses6 = read('/proc/net/if_inet6');
  return {
    ipv6: addresses6 !== '' && read('/proc/sys/net/ipv6/conf/all/disable_ipv6').trim() !== '1',
    routes: parseRoutes(read('/proc/net/route')),
    prefixes6: parsePrefixes6(addresses6),
    forwarding4: read('/proc/sys/net/ipv4/ip_forward').trim() === '1',
    forwarding6: read('/proc/sys/net/ipv6/conf/all/forwarding').trim() === '1',
    defaultRoute6Advertised: hasAdvertisedDefault(read('/proc/net/ipv6_route')),
    nameServers: [...read('/etc/resolv.conf').matchAll(/^[ \t]*nameserver[ \t]+(\S+)/gm)].map(
      (match) => match[1] ?? '',
    ),
  };
}

/** Columns: Iface Destination Gateway Flags RefCnt Use Metric Mask …; addresses as host-order words in hexadecimal. */
function parseRoutes(text: string): HostRoute[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [link, destination, gateway, , , , , mask] = line.split('\t');
      if (link === undefined || destination === undefined || mask === undefined || mask === '00000000') return [];
      const length = wordBytes(mask).reduce((bits, byte) => bits + byte.toString(2).replaceAll('0', '').length, 0);
      return [{ link, destination: { address: wordBytes(destination), length }, gateway: gateway !== '00000000' }];
    });
}

function wordBytes(word: string): Uint8Array {
  return Uint8Array.from(Buffer.from(word, 'hex')).reverse();
}

/** Columns: address, index, prefix length, scope (00 global), flags, name. */
function parsePrefixes6(text: string): { link: string; prefix: string }[] {
  return text.split('\n').flatMap((line) => {
    const [address = '', , length = '', scope, , link] = line.trim().split(/\s+/);
    if (link === undefined || scope !== '00') return [];
    const bits = Number.parseInt(length, 16);
    const network = Uint8Array.from(Buffer.from(address, 'hex'), (byte, i) => byte & maskByte(bits, i));
    return [{ link, prefix: formatPrefix({ address: network, length: bits }) }];
  });
}

/** Flags are RTF_DEFAULT (0x10000) and RTF_ADDRCONF (0x40000): /proc/net/ipv6_route, net/ipv6/route.c. */
function hasAdvertisedDefault(text: string): boolean {
  return text.split('\n').some((line) => {
    const fields = line.trim().split(/\s+/);
    const flags = Number.parseInt(fields[8] ?? '0', 16);
    return fields[1] === '00' && (flags & 0x50000) === 0x50000;
  });
}
