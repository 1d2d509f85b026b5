/** docker's words for ports: `-p`, `--expose`. Messages are those of docker's command line. */
import { KeelsonError } from '../ground/errors.ts';
import { formatIp, tryParseIp } from '../kernel/ip-address.ts';
import type { PortSpec } from './types.ts';

export interface ExposedPort {
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
}

function invalid(message: string): KeelsonError {
  return new KeelsonError('invalid-argument', message);
}

/**
 * `[hostIp:][hostPort[-end]]:containerPort[-end][/protocol]`, IPv6 addresses in brackets or not, or
 * `published=8080,target=80[,protocol=udp]`. One for each container port. A range of host ports for a single container port means: the
 * first that is free.
 */
export function parsePublish(value: string): PortSpec[] {
  const words = value.includes('=') ? fromPairs(value) : value;
  const colons = words.split(':');
  const target = colons.pop() ?? '';
  const published = colons.pop() ?? '';
  const hostIp = parseHostIp(colons.join(':'));
  const { port: containerPort, protocol } = splitProtocol(target);
  if (containerPort === '') throw invalid(`no port specified: ${value}<empty>`);
  const inside = parseRange(containerPort) ?? fail(`invalid containerPort: ${containerPort}`);
  if (published === '') return inside.map((port) => ({ hostIp, hostPort: 0, containerPort: port, protocol }));
  const outside = parseRange(published) ?? fail(`invalid hostPort: ${published}`);
  const [hostPort = 0] = outside;
  const hostPortEnd = outside.at(-1) ?? hostPort;
  if (inside.length === outside.length) {
    return inside.map((port, i) => ({ hostIp, hostPort: outside[i] ?? 0, containerPort: port, protocol }));
  }
  if (inside.length > 1) {
    throw invalid(`invalid ranges specified for container and host Ports: ${containerPort} and ${published}`);
  }
  return [{ hostIp, hostPort, hostPortEnd, containerPort: inside[0] ?? 0, protocol }];
}

function fail(message: string): never {
  throw invalid(message);
}

/** The long form in the short one's words. */
function fromPairs(value: string): string {
  const pairs: Record<string, string> = { protocol: 'tcp' };
  for (const pair of value.split(',')) {
    const [, key, text] = /^([^=]+)=(.*)$/s.exec(pair) ?? [];
    if (key === undefined || text === undefined) {
      throw invalid(`invalid publish opts format (should be name=value but got '${pair}')`);
    }
    pairs[key] = text;
  }
  return `${pairs['published'] ?? ''}:${pairs['target'] ?? ''}/${pairs['protocol']}`;
}

/** Canonical; '' for every address. */
function parseHostIp(words: string): string {
  if (words === '') return '';
  const bracketed = /^\[(.*)\]$/s.exec(words);
  const bytes = tryParseIp(bracketed?.[1] ?? words);
  if (!bytes || (bracketed && bytes.length === 4)) throw invalid(`invalid IP address: ${words}`);
  return formatIp(bytes);
}

function splitProtocol(target: string): { port: string; protocol: 'tcp' | 'udp' } {
  const slash = target.indexOf('/');
  const port = slash < 0 ? target : target.slice(0, slash);
  const protocol = slash < 0 ? 'tcp' : target.slice(slash + 1).toLowerCase() || 'tcp';
  if (protocol === 'tcp' || protocol === 'udp') return { port, protocol };
  if (protocol === 'sctp') throw new KeelsonError('unsupported', `${target}: sctp ports can't be published`);
  throw invalid(`invalid proto: ${protocol}`);
}

/** Every port from the first to the last; undefined when the words are no port or range. */
function parseRange(words: string): number[] | undefined {
  const match = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(words);
  if (!match) return undefined;
  const first = Number(match[1]);
  const last = Number(match[2] ?? match[1]);
  if (first > 65535 || last > 65535 || last < first) return undefined;
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** `port[-end][/protocol]` */
export function parseExpose(value: string): ExposedPort[] {
  if (value.includes(':')) throw invalid(`invalid port format for --expose: ${value}`);
  const { port, protocol } = splitProtocol(value);
  const ports = parseRange(port);
  if (!ports) throw invalid(`invalid range format for --expose: ${value}`);
  return ports.map((one) => ({ port: one, protocol }));
}
