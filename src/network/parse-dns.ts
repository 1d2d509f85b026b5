/** docker's words for names: `--dns`, `--dns-search`, `--add-host`. Messages are those of docker's command line. */
import { KeelsonError } from '../ground/errors.ts';
import { formatIp, tryParseIp } from '../kernel/ip-address.ts';

/** The address that stands for the host itself. */
export const hostGateway = 'host-gateway';

/** A name server's address, in canonical form. */
export function parseDns(value: string): string {
  const address = tryParseIp(value.trim());
  if (!address) throw new KeelsonError('invalid-argument', `IP address is not correctly formatted: ${value}`);
  return formatIp(address);
}

/** A domain, or `.` for none at all. */
export function parseDnsSearch(value: string): string {
  const domain = value.trim();
  const label = '[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?';
  if (domain === '.') return domain;
  if (domain.length > 255 || !new RegExp(`^${label}(?:\\.${label})*\\.?$`).test(domain)) {
    throw new KeelsonError('invalid-argument', `${value} is not a valid domain`);
  }
  return domain;
}

/** An option of resolv.conf(5): one word, as it would break out of its line otherwise. */
export function parseDnsOption(value: string): string {
  if (!/^[\x21-\x7e]+$/.test(value)) {
    throw new KeelsonError('invalid-argument', `${JSON.stringify(value)} is not an option of resolv.conf`);
  }
  return value;
}

export interface ExtraHost {
  readonly name: string;
  /** Canonical, or `host-gateway`. */
  readonly address: string;
}

/** `name:address` or `name=address`; IPv6 addresses in brackets or not. */
export function parseExtraHost(value: string): ExtraHost {
  const separator = value.includes('=') ? '=' : ':';
  const at = value.indexOf(separator);
  const name = value.slice(0, Math.max(at, 0));
  const written = value.slice(at + 1);
  if (at < 0 || !/^[^\s:#]+$/.test(name)) {
    throw new KeelsonError('invalid-argument', `bad format for add-host: ${JSON.stringify(value)}`);
  }
  if (written === hostGateway) return { name, address: hostGateway };
  const bytes = tryParseIp(/^\[(.*)\]$/.exec(written)?.[1] ?? written);
  if (!bytes) {
    throw new KeelsonError('invalid-argument', `invalid IP address in add-host: ${JSON.stringify(written)}`);
  }
  return { name, address: formatIp(bytes) };
}

/** The one form in which the engine keeps it. */
export function formatExtraHost({ name, address }: ExtraHost): string {
  return `${name}:${address}`;
}
