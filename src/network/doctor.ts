/** What of a host's network keeps containers on the bridge from working as expected, and what to do about it. */
import { readFileSync } from 'node:fs';
import type { Context } from '../ground/context.ts';
import type { Finding } from '../kernel/doctor.ts';
import type { Keel } from '../kernel/keel.ts';
import { decodeMessages, encodeBatch } from '../kernel/netlink.ts';
import { decodeChain, dumpChains, NETLINK_NETFILTER, type Chain } from '../kernel/nftables.ts';
import type { Plan } from '../kernel/plan.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import { canForward6 } from './bridge-steps.ts';
import { readHostNetwork, type HostNetwork } from './host-network.ts';
import { openNetlink, sendBatch } from '../runtime/netlink-steps.ts';
import { keelsonTable } from './ruleset.ts';

/** Looks at the host's firewall and forwarding; touches nothing. */
export async function examineNetwork(
  context: Context,
  keel: Keel,
  arch: Plan['arch'],
  bridge: string,
): Promise<Finding[]> {
  const chains = await listChains(context, keel, arch);
  return judge({ chains, legacyTables: readLegacyTables(), host: readHostNetwork(), bridge });
}

/** NF_INET_FORWARD, of the families that see IP packets. */
const forwardHook = 2;
const ipFamilies: readonly string[] = ['inet', 'ip', 'ip6'];

export interface NetworkState {
  readonly chains: readonly Chain[];
  /** Tables of the old iptables, which nftables doesn't show. */
  readonly legacyTables: readonly string[];
  readonly host: Pick<HostNetwork, 'ipv6' | 'forwarding6' | 'defaultRoute6Advertised'>;
  readonly bridge: string;
}

/** Pure. */
export function judge({ chains, legacyTables, host, bridge }: NetworkState): Finding[] {
  const dropping = chains.filter(
    ({ family, table, base }) =>
      base?.type === 'filter' &&
      base.hook === forwardHook &&
      base.drops &&
      ipFamilies.includes(family) &&
      table !== keelsonTable.name,
  );
  const findings = dropping.map((chain): Finding => {
    const name = `${chain.family} ${chain.table} ${chain.name}`;
    return {
      ...{ group: 'network', name: 'host firewall', status: 'warn' },
      detail: `the chain ${name} drops what it has no rule for: unless one of its rules lets ${bridge} pass, containers don't reach other hosts, nor others their published ports`,
      advice: allow(chain, chains, bridge),
    };
  });
  if (legacyTables.includes('filter')) {
    findings.push({
      ...{ group: 'network', name: 'legacy iptables', status: 'warn' },
      detail: 'the filter table of iptables-legacy is in use; what it drops stays dropped',
      advice: `see iptables-legacy -S FORWARD; let what comes from or goes to ${bridge} pass`,
    });
  }
  if (findings.length === 0) findings.push(ok('host firewall', 'no rules of the host are in the way by default'));
  if (!host.ipv6) return findings;
  if (canForward6(host)) {
    const now = host.forwarding6 ? 'on' : 'off; turned on when a container first joins the bridge';
    return [...findings, ok('IPv6 forwarding', now)];
  }
  return [
    ...findings,
    {
      ...{ group: 'network', name: 'IPv6 forwarding', status: 'warn' },
      detail:
        'off, and left so: this host learns its default route from router advertisements, which Linux ignores once it forwards. Containers have IPv6 among themselves and with the host; published TCP ports are reached over IPv6 all the same',
      advice: 'set net.ipv6.conf.<uplink>.accept_ra to 2, then net.ipv6.conf.all.forwarding to 1',
    },
  ];
}

function ok(name: string, detail: string): Finding {
  return { group: 'network', name, status: 'ok', detail, advice: '' };
}

/** The command that lets the bridge's packets pass, for the firewalls whose chains can be told by their names. */
function allow({ family, table, name }: Chain, all: readonly Chain[], bridge: string): string {
  const has = (chain: string): boolean => all.some((one) => one.table === table && one.name === chain);
  if (name === 'FORWARD' && table === 'filter') {
    if (has('ufw-user-forward') || has('ufw6-user-forward')) {
      return `ufw route allow in on ${bridge} && ufw route allow out on ${bridge}`;
    }
    const program = family === 'ip6' ? 'ip6tables' : 'iptables';
    const chain = has('DOCKER-USER') ? 'DOCKER-USER' : 'FORWARD';
    return `${program} -I ${chain} -i ${bridge} -j ACCEPT && ${program} -I ${chain} -o ${bridge} -j ACCEPT`;
  }
  if (table === 'firewalld') return `firewall-cmd --permanent --zone=trusted --add-interface=${bridge}`;
  const insert = `nft insert rule ${family} ${table} ${name}`;
  return `${insert} iifname ${bridge} accept && ${insert} oifname ${bridge} accept`;
}

function readLegacyTables(): string[] {
  return ['ip_tables_names', 'ip6_tables_names'].flatMap((name) => {
    try {
      return readFileSync(`/proc/net/${name}`, 'utf8').split('\n').filter(Boolean);
    } catch {
      return [];
    }
  });
}

async function listChains(context: Context, keel: Keel, arch: Plan['arch']): Promise<Chain[]> {
  const size = 1 << 20;
  const b = new PlanBuilder(arch).group('network').doing("listing the host's chains of nftables");
  const nf = openNetlink(b, NETLINK_NETFILTER);
  const at = b.blob(size);
  const used = sendBatch(b, nf, encodeBatch([dumpChains()]), 'getchains', { answer: { at, size } });
  b.report(0, [used], [at]);
  let chains: Chain[] = [];
  const onReport = ({ registers, blobs }: { registers: readonly bigint[]; blobs: readonly Uint8Array[] }): void => {
    const answer = blobs[0]?.subarray(0, Number(registers[0] ?? 0n)) ?? new Uint8Array();
    chains = decodeMessages(answer).flatMap((message) => decodeChain(message) ?? []);
  };
  await keel.run(b.build(), { onReport }, context);
  return chains;
}
