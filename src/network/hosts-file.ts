/** A container's /etc/hosts (hosts(5)), as docker writes it. */
import { KeelsonError } from '../ground/errors.ts';
import { hostGateway, parseExtraHost } from './parse-dns.ts';

const standard = ['127.0.0.1\tlocalhost'];
const standard6 = [
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::\tip6-localnet',
  'ff00::\tip6-mcastprefix',
  'ff02::1\tip6-allnodes',
  'ff02::2\tip6-allrouters',
];

export interface HostsOptions {
  readonly hostname: string;
  readonly domainname?: string;
  /** The container's addresses; '' for none. */
  readonly ip: string;
  readonly ip6: string;
  /** `name:address` or `name:host-gateway`. */
  readonly extraHosts?: readonly string[];
  /** What `host-gateway` stands for: the host's addresses as the container sees them. */
  readonly gateways?: readonly string[];
  /** The text to begin with, in place of the standard names: with the host's network, the host's own file. */
  readonly base?: string;
}

/** Throws `invalid-argument` for a `host-gateway` where there is no gateway. */
export function hostsFile(options: HostsOptions): string {
  const { hostname, domainname = '', ip, ip6, gateways = [] } = options;
  const base = options.base?.replace(/\n*$/, '').split('\n') ?? [...standard, ...standard6];
  const extra = (options.extraHosts ?? []).map(parseExtraHost).flatMap(({ name, address }) => {
    if (address !== hostGateway) return [`${address}\t${name}`];
    if (gateways.length === 0) {
      throw new KeelsonError('invalid-argument', `unable to derive the IP value for host-gateway of ${name}`);
    }
    return gateways.map((gateway) => `${gateway}\t${name}`);
  });
  const names = domainname === '' ? hostname : `${hostname}.${domainname} ${hostname}`;
  const own =
    hostname === '' ? [] : [ip, ip6].filter((address) => address !== '').map((address) => `${address}\t${names}`);
  return [...base, ...extra, ...own, ''].join('\n');
}
