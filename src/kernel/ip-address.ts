/** IPv4 and IPv6 addresses as text, as bytes in network order, and as prefixes. */
import { KeelsonError } from '../ground/errors.ts';

export const AF_INET = 2;
export const AF_INET6 = 10;

/** 4 or 16 bytes, or undefined when it is no address. Zones (`%eth0`) and octets with leading zeros are not taken. */
export function tryParseIp(address: string): Uint8Array | undefined {
  return address.includes(':') ? parseIpv6(address) : parseIpv4(address);
}

// Not node:net's isIPv6: the first call of its expression costs milliseconds, which is a tenth of a short command's time.
function parseIpv4(address: string): Uint8Array | undefined {
  const octets = address.split('.');
  if (octets.length !== 4 || !octets.every((octet) => /^(?:0|[1-9]\d{0,2})$/.test(octet) && Number(octet) < 256)) {
    return undefined;
  }
  return Uint8Array.from(octets, Number);
}

/** RFC 4291, section 2.2: groups, one `::`, a dotted quad at the end. */
function parseIpv6(address: string): Uint8Array | undefined {
  const halves = address.split('::');
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half, i) => groupsOf(half, i === halves.length - 1));
  if (head === undefined || (halves.length === 2 && tail === undefined)) return undefined;
  const zeros = 8 - head.length - (tail?.length ?? 0);
  // A `::` stands for at least one group.
  if (tail === undefined ? zeros !== 0 : zeros < 1) return undefined;
  const bytes = new Uint8Array(16);
  for (const [i, group] of head.entries()) bytes.set([group >> 8, group & 0xff], 2 * i);
  for (const [i, group] of (tail ?? []).entries()) bytes.set([group >> 8, group & 0xff], 2 * (head.length + zeros + i));
  return bytes;
}

/** 16-bit groups; a dotted quad, which only the last part may have, makes two. Undefined when it isn't well formed. */
function groupsOf(part: string, last: boolean): number[] | undefined {
  const groups: number[] = [];
  if (part === '') return groups;
  const words = part.split(':');
  for (const [i, word] of words.entries()) {
    const quad = last && i === words.length - 1 && word.includes('.') ? parseIpv4(word) : undefined;
    if (quad) groups.push(((quad[0] ?? 0) << 8) | (quad[1] ?? 0), ((quad[2] ?? 0) << 8) | (quad[3] ?? 0));
    else if (/^[0-9a-f]{1,4}$/i.test(word)) groups.push(Number.parseInt(word, 16));
    else return undefined;
  }
  return groups;
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
