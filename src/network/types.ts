/** A port to be published, or one that is. */
export interface PortSpec {
  /** '' means every address, IPv4 and IPv6. */
  readonly hostIp: string;
  /** 0: one is chosen. */
  readonly hostPort: number;
  /** The end of a range of host ports of which the first free one is taken; absent for `hostPort` itself. */
  readonly hostPortEnd?: number;
  readonly containerPort: number;
  readonly protocol: 'tcp' | 'udp';
}

/** A container's addresses, as `inspect` shows them. IPv6 is '' and 0 where the network has none. */
export interface Addresses {
  readonly ip: string;
  readonly prefixLength: number;
  readonly gateway: string;
  readonly ip6: string;
  readonly prefixLength6: number;
  readonly gateway6: string;
  readonly mac: string;
}
