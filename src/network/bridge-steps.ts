/**
 * The network of a bridge as operations of a plan: what the executor does in the host's network namespace, and what the container's
 * process does in its own. Whatever is made once (bridge, addresses, rules) is made by the plan itself when it finds it missing, so
 * that no state outside the kernel can be wrong about it.
 */
import { parseIp } from '../kernel/ip-address.ts';
import { encodeBatch, type Batch } from '../kernel/netlink.ts';
import {
  getLink,
  IFF_UP,
  linkAnswer,
  NETLINK_ROUTE,
  newAddress,
  newBridge,
  newRoute,
  newVeth,
  setHairpin,
  setLink,
} from '../kernel/netlink-route.ts';
import { getElement, type Table } from '../kernel/nftables.ts';
import type { Reg, Value } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Pools } from '../store/network.ts';
import type { HostNetwork } from './host-network.ts';
import { openNetlink, sendBatch, setNetSysctl } from '../runtime/netlink-steps.ts';
import { macOf } from './pool.ts';
import { revision } from './ruleset.ts';
import type { Addresses } from './types.ts';

/** Room for the answer about one link, which takes some 2 KiB. */
const answerSize = 8192;

/**
 * IPv4 forwarding as docker does; IPv6 forwarding unless the host has its default route from router advertisements, which the
 * kernel stops listening to when it forwards: the host would lose its own connection after a while.
 */
export function enableForwarding(b: PlanBuilder, host: HostNetwork, ipv6: boolean): void {
  if (!host.forwarding4) setNetSysctl(b, 'ipv4/ip_forward', '1');
  if (ipv6 && canForward6(host) && !host.forwarding6) setNetSysctl(b, 'ipv6/conf/all/forwarding', '1');
}

/** Whether IPv6 packets can be forwarded, or may be made to. */
export function canForward6(host: Pick<HostNetwork, 'forwarding6' | 'defaultRoute6Advertised'>): boolean {
  return host.forwarding6 || !host.defaultRoute6Advertised;
}

/** The bridge, made when it is missing; returns the register that holds its index. */
export function ensureBridge(b: PlanBuilder, rt: Value, bridge: string, pools: Pools, addresses: Addresses): Reg {
  b.doing(`looking for the bridge ${bridge}`);
  const [make, ready] = [b.label(), b.label()];
  const answer = { at: b.blob(answerSize), size: answerSize };
  const look = encodeBatch([getLink({ name: bridge })]);
  const ask = `getlink ${bridge}`;
  sendBatch(b, rt, look, ask, { answer, on: { ENODEV: make } });
  // It is set up last, so that one whose maker was killed half way is finished by the next.
  const flags = b.peek({ ...answer.at, offset: linkAnswer.flags }, 4, 'bridge_flags');
  b.branch(flags, '&', IFF_UP, ready);

  b.place(make);
  b.doing(`creating the bridge ${bridge}`);
  const mac = macOf(parseIp(addresses.gateway));
  // The address is set, or else it would change with the ports and neighbours would lose track.
  sendBatch(b, rt, encodeBatch([newBridge({ name: bridge, mac })]), `newlink ${bridge} type bridge address ${mac}`, {
    on: { EEXIST: 'continue' },
  });
  if (pools.pool6 !== '') {
    // Containers must not be able to advertise themselves as the host's router (CVE-2020-13401).
    setNetSysctl(b, `ipv6/conf/${bridge}/accept_ra`, '0');
    setNetSysctl(b, `ipv6/conf/${bridge}/disable_ipv6`, '0');
    // Nobody else on the bridge has its link-local address. Checking for that, whenever the first container comes, would keep the host
    // from finding it for up to 2 s.
    setNetSysctl(b, `ipv6/conf/${bridge}/accept_dad`, '0');
  }
  b.doing(`configuring the bridge ${bridge}`);
  sendBatch(b, rt, look, ask, { answer });
  const made = b.peek({ ...answer.at, offset: linkAnswer.index }, 4, 'bridge_made');
  const own = [[addresses.gateway, addresses.prefixLength] as const];
  if (pools.pool6 !== '') own.push([addresses.gateway6, addresses.prefixLength6] as const);
  for (const [address, length] of own) {
    const batch = encodeBatch([newAddress({ slot: 'bridge' }, parseIp(address), length)]);
    sendBatch(b, rt, batch, `newaddr ${address}/${length} dev ${bridge}`, {
      fill: { bridge: made },
      on: { EEXIST: 'continue' },
    });
  }
  sendBatch(b, rt, encodeBatch([setLink({ name: bridge }, { up: true })]), `setlink ${bridge} up`);
  b.place(ready);
  return b.peek({ ...answer.at, offset: linkAnswer.index }, 4, 'bridge');
}

/** Keelson's table, made or brought up to date by `install` when the rules in force aren't those named `key`. */
export function ensureRules(b: PlanBuilder, nf: Value, table: Table, key: string, install: Batch): void {
  const { set, element } = revision(key);
  b.doing(`looking for the nftables table ${table.family} ${table.name}`);
  const [missing, done] = [b.label(), b.label()];
  const look = encodeBatch([getElement(table, set, element)]);
  sendBatch(b, nf, look, `getelement ${table.name} ${set}`, { on: { ENOENT: missing } });
  b.jump(done);
  b.place(missing);
  b.doing(`installing the nftables table ${table.family} ${table.name}`);
  sendBatch(b, nf, install, `install table ${table.family} ${table.name}`);
  b.place(done);
}

/** The pair of links: this end a port of the bridge (`bridge`: its index), the other one in the network namespace of `pid`, as eth0. */
export function connect(
  b: PlanBuilder,
  rt: Value,
  options: { link: string; bridgeName: string; bridge: Reg; pid: Reg; mac: string; mtu?: number; hairpin: boolean },
): void {
  const { link, mac, mtu } = options;
  b.doing(`creating the link ${link}`);
  const size = mtu === undefined ? {} : { mtu };
  const veth = newVeth({
    name: link,
    master: { slot: 'bridge' },
    ...size,
    peer: { name: 'eth0', mac, netns: { pid: { slot: 'pid' } }, ...size },
  });
  // With br_netfilter, a container that calls its own published port is answered through the port it came from.
  const messages = [veth, setLink({ name: link }, { noLinkLocal: true }), setLink({ name: link }, { up: true })];
  if (options.hairpin) messages.push(setHairpin({ name: link }, true));
  const text = `newlink ${link} master ${options.bridgeName} type veth peer eth0 address ${mac} netns of the container`;
  const more = `; setlink ${link} addrgenmode none; setlink ${link} up${options.hairpin ? `; setlink ${link} hairpin on` : ''}`;
  sendBatch(b, rt, encodeBatch(messages), text + more, {
    fill: { bridge: options.bridge, pid: options.pid },
  });
}

/** In the container: the loopback link, which is all that `none` has. */
export function configureLoopback(b: PlanBuilder): void {
  b.doing('setting up the loopback link');
  const rt = openNetlink(b, NETLINK_ROUTE);
  sendBatch(b, rt, encodeBatch([loopbackUp]), 'setlink lo up');
  b.sys('close', [rt]);
}

/** The loopback link is the first of every network namespace. */
const loopbackUp = setLink({ index: 1 }, { up: true });

/** In the container: loopback, addresses, default routes. eth0 is there. */
export function configureContainer(b: PlanBuilder, addresses: Addresses): void {
  b.doing('configuring eth0');
  const rt = openNetlink(b, NETLINK_ROUTE);
  const answer = { at: b.blob(answerSize), size: answerSize };
  sendBatch(b, rt, encodeBatch([getLink({ name: 'eth0' })]), 'getlink eth0', { answer });
  const index = b.peek({ ...answer.at, offset: linkAnswer.index }, 4, 'eth0');
  const { ip, prefixLength, gateway, ip6, prefixLength6, gateway6 } = addresses;
  const messages = [
    loopbackUp,
    setLink({ name: 'eth0' }, { up: true }),
    newAddress({ slot: 'eth0' }, parseIp(ip), prefixLength),
    newRoute({ gateway: parseIp(gateway), index: { slot: 'eth0' } }),
  ];
  let text = `setlink lo up; setlink eth0 up; newaddr ${ip}/${prefixLength} dev eth0; newroute default via ${gateway}`;
  if (ip6 !== '') {
    messages.push(
      newAddress({ slot: 'eth0' }, parseIp(ip6), prefixLength6),
      newRoute({ gateway: parseIp(gateway6), index: { slot: 'eth0' } }),
    );
    text += `; newaddr ${ip6}/${prefixLength6} dev eth0; newroute default via ${gateway6}`;
  }
  sendBatch(b, rt, encodeBatch(messages), text, { fill: { eth0: index } });
  b.sys('close', [rt]);
}
