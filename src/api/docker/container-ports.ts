import type { Container } from '../../engine/types.ts';

/** One line of a container's ports, as `GET /containers/json` has it; `PublicPort` absent where it is only exposed. */
export interface PortSummary {
  readonly IP?: string;
  readonly PrivatePort: number;
  readonly PublicPort?: number;
  readonly Type: string;
}

/** Ports as bound, then those that are exposed without being published. */
export function portSummaries(container: Container): PortSummary[] {
  const running = container.state.state === 'running' || container.state.state === 'paused';
  if (!running || container.config.network === 'host') return [];
  const bound = container.network.ports.flatMap((port) =>
    // No address means every address: one line for IPv4 and one for IPv6, as docker has them.
    (port.hostIp === '' ? ['0.0.0.0', '::'] : [port.hostIp]).map((IP) => ({
      IP,
      PrivatePort: port.containerPort,
      PublicPort: port.hostPort,
      Type: port.protocol,
    })),
  );
  const published = new Set(bound.map((port) => `${port.PrivatePort}/${port.Type}`));
  const exposed = (container.config.exposedPorts ?? [])
    .filter((port) => !published.has(`${port.port}/${port.protocol}`))
    .map((port) => ({ PrivatePort: port.port, Type: port.protocol }));
  return [...bound, ...exposed];
}

/** An address as it stands before a port number. */
export function hostAddress(ip: string): string {
  return ip.includes(':') ? `[${ip}]` : ip;
}

function before(a: PortSummary, b: PortSummary): number {
  const byText = (x: string, y: string): number => (x < y ? -1 : x > y ? 1 : 0);
  return (
    a.PrivatePort - b.PrivatePort ||
    byText(a.IP ?? '', b.IP ?? '') ||
    (a.PublicPort ?? 0) - (b.PublicPort ?? 0) ||
    byText(a.Type, b.Type)
  );
}

/**
 * The PORTS column: `0.0.0.0:8080->80/tcp, 443/udp`, neighbouring ports as ranges where inside and outside agree. Ports that are
 * mapped to another number come last, one by one.
 */
export function portsText(ports: readonly PortSummary[]): string {
  const ranges: { key: string; first: number; last: number }[] = [];
  const mapped: string[] = [];
  const open = new Map<string, { key: string; first: number; last: number }>();
  for (const port of ports.toSorted(before)) {
    const { IP = '', PrivatePort, PublicPort = 0, Type } = port;
    if (PublicPort !== 0 && PublicPort !== PrivatePort) {
      mapped.push(`${hostAddress(IP)}:${PublicPort}->${PrivatePort}/${Type}`);
      continue;
    }
    const key = PublicPort === 0 ? Type : `${hostAddress(IP)}/${Type}`;
    const range = open.get(key);
    if (range && range.last === PrivatePort - 1) {
      range.last = PrivatePort;
      continue;
    }
    if (range?.last === PrivatePort) continue;
    const next = { key, first: PrivatePort, last: PrivatePort };
    open.set(key, next);
    ranges.push(next);
  }
  const text = ranges.map(({ key, first, last }) => {
    const inside = first === last ? String(first) : `${first}-${last}`;
    const slash = key.lastIndexOf('/');
    return slash < 0 ? `${inside}/${key}` : `${key.slice(0, slash)}:${inside}->${inside}/${key.slice(slash + 1)}`;
  });
  return [...text, ...mapped].join(', ');
}
