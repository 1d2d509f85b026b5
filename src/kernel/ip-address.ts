/** IPv4 and IPv6 addresses as text, as bytes in network order, and as prefixes. */
import { isIPv4, isIPv6 } from 'node:net';
import { KeelsonError } from '../ground/errors.ts';

export const AF_INET = 2;
export const AF_INET6 = 10;

/** 4 or 16 bytes, or undefined when it is no address. Zones (`%eth0`) are not taken. */
export function tryParseIp(address: string): Uint8Array | undefined {
  if (isIPv4(address)) return Uint8Array.from(address.split('.'), Number);
  if (!isIPv6(address) || address.includes('%')) return undefined;
  const [head = '', tail] = address.split('::');
  const left = groupsOf(head);
  const right = groupsOf(tail ?? '');
  const groups = [
    ...left,
    ...Array.from({ length: tail === undefined ? 0 : 8 - left.length - right.length }, () => 0),
    ...right,
  ];
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

/** 16-bit groups; a dotted quad at the end makes two. */
function groupsOf(part: string): number[] {
  if (part === '') return [];
  return part.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
    return [(a << 8) | b, (c << 8) | d];
  });
}

/** Throws `invalid-argument` when it is no address. */
export function parseIp(address: string): Uint8Array {
  const bytes = tryParseIp(address);
  if (!bytes) throw new KeelsonError('invalid-argument', `${JSON.stringify(address)} is not an IP address`);
  return bytes;
}

/** Canonical text: RFC 5952 for IPv6. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16) throw new KeelsonError('internal', `an IP address of ${bytes.length} bytes`);
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0));
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${bytes.subarray(12).join('.')}`;
  }
  const [start, length] = longestZeros(groups);
  const text = (list: number[]): string => list.map((group) => group.toString(16)).join(':');
  return length < 2 ? text(groups) : `${text(groups.slice(0, start))}::${text(groups.slice(start + length))}`;
}

function longestZeros(groups: readonly number[]): [start: number, length: number] {
  let best: [number, number] = [0, 0];
  for (let start = 0; start < groups.length; start++) {
    let end = start;
    while (end < groups.length && groups[end] === 0) end++;
    if (end - start > best[1]) best = [start, end - start];
  }
  return best;
}

export function familyOf(bytes: Uint8Array): typeof AF_INET | typeof AF_INET6 {
  return bytes.length === 4 ? AF_INET : AF_INET6;
}

/** An address and how many of its leading bits are the network's. */
export interface Prefix {
  readonly address: Uint8Array;
  readonly length: number;
}

/** `10.77.0.0/16`; the bits behind the prefix must be zero. Throws `invalid-argument`. */
export function parsePrefix(prefix: string): Prefix {
  const slash = prefix.lastIndexOf('/');
  const address = tryParseIp(prefix.slice(0, Math.max(slash, 0)));
  const digits = prefix.slice(slash + 1);
  const length = Number(digits);
  if (!address || !/^\d{1,3}$/.test(digits) || length > address.length * 8) {
    throw new KeelsonError('invalid-argument', `${JSON.stringify(prefix)} is not a network such as 10.77.0.0/16`);
  }
  if (address.some((byte, i) => byte & ~maskByte(length, i))) {
    throw new KeelsonError('invalid-argument', `${prefix} has bits set behind its prefix of ${length} bits`);
  }
  return { address, length };
}

export function formatPrefix({ address, length }: Prefix): string {
  return `${formatIp(address)}/${length}`;
}

/** Byte `i` of the mask of `length` bits. */
export function maskByte(length: number, i: number): number {
  return 0xff & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i)));
}

/** True when one of the two contains the other; prefixes of different families never do. */
export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  if (a.address.length !== b.address.length) return false;
  const length = Math.min(a.length, b.length);
  return a.address.every((byte, i) => ((byte ^ (b.address[i] ?? 0)) & maskByte(length, i)) === 0);
}

/** The `host`-th address of a prefix. Throws `internal` when it lies outside. */
export function addressAt({ address, length }: Prefix, host: number): Uint8Array {
  const hostBits = address.length * 8 - length;
  if (!Number.isSafeInteger(host) || host < 0 || host >= 2 ** hostBits) {
    throw new KeelsonError('internal', `address ${host} lies outside ${formatPrefix({ address, length })}`);
  }
  const bytes = Uint8Array.from(address);
  for (let i = bytes.length - 1, rest = host; rest > 0; i--, rest = Math.floor(rest / 256)) {
    bytes[i] = (bytes[i] ?? 0) | (rest % 256);
  }
  return bytes;
}
