/** Links of the host that a container is given (runtime-spec, config-linux.md#network-devices), with their global addresses. */
import { CLONE_NEWNET, O_RDONLY } from '../kernel/constants.ts';
import { decodeMessages, encodeBatch, type DecodedMessage, type Message } from '../kernel/netlink.ts';
import {
  decodeLink,
  dumpAddresses,
  getLink,
  linkAnswer,
  NETLINK_ROUTE,
  readdress,
  setLink,
} from '../kernel/netlink-route.ts';
import type { BlobRef, Reg } from '../kernel/plan.ts';
import type { PlanMessage } from '../kernel/plan-answers.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import type { Linux } from '../spec/runtime.ts';
import { openHost } from './in-root.ts';
import { openNetlink, sendBatch } from './netlink-steps.ts';
import { openOfProcess } from './userns-steps.ts';

type NetDevices = NonNullable<Linux['netDevices']>;

const answerSize = 64 << 10;

/** In the executor, in the host's network namespace: looks the links up. The plan then stops at a `sync`, which `moveLinks` answers. */
export function findLinks(b: PlanBuilder, devices: NetDevices, tag: number): void {
  b.group('network').doing('finding the network devices');
  const socket = openNetlink(b, NETLINK_ROUTE);
  const ask = (message: Message, text: string, doing: string): { size: Reg; at: BlobRef } => {
    const at = b.blob(answerSize, 'answer');
    return {
      size: sendBatch(b, socket, encodeBatch([message]), text, { doing, answer: { at, size: answerSize } }),
      at,
    };
  };
  const answers = Object.keys(devices).map((name) =>
    ask(getLink({ name }), `RTM_GETLINK ${name}`, `moving the network device ${name}: finding it`),
  );
  answers.push(ask(dumpAddresses(), 'RTM_GETADDR', 'reading the addresses of network devices'));
  b.sync(
    tag,
    answers.map((a) => a.size),
    answers.map((a) => a.at),
  );
  b.sys('close', [socket]);
}

/** The operations that follow, in the executor: each link goes down, moves under its new name, gets its addresses back and goes up. */
export function moveLinks(b: PlanBuilder, devices: NetDevices, pid: Reg, { registers, blobs }: PlanMessage): void {
  const answers = blobs.map((blob, i) => decodeMessages(blob.subarray(0, Number(registers[i] ?? 0n))));
  const addresses = answers.at(-1) ?? [];
  const links = Object.entries(devices).map(([name, device], i) => {
    const index = (answers[i] ?? []).map(decodeLink).find((link) => link !== undefined)?.index ?? 0;
    return { name, inside: device.name ?? name, index };
  });
  b.group('network').doing('moving the network devices');
  const socket = openNetlink(b, NETLINK_ROUTE);
  const here = openHost(b, '/proc/self/ns/net', O_RDONLY);
  const there = openOfProcess(b, pid, 'ns/net', O_RDONLY);
  for (const { name, inside, index } of links) {
    const doing = `moving the network device ${name}`;
    const move = encodeBatch([
      setLink({ index }, { up: false }),
      setLink({ index }, { rename: inside, netns: { fd: { slot: 'netns' } } }),
    ]);
    sendBatch(b, socket, move, `RTM_NEWLINK ${name} → ${inside}`, { doing, fill: { netns: there } });
  }
  b.sys('close', [socket]);
  b.sys('setns', [there, CLONE_NEWNET]);
  const inner = openNetlink(b, NETLINK_ROUTE);
  for (const { inside, index } of links) bringUp(b, inner, inside, addresses, index);
  b.sys('close', [inner]);
  b.sys('setns', [here, CLONE_NEWNET]);
  for (const fd of [here, there]) b.sys('close', [fd]);
}

function bringUp(
  b: PlanBuilder,
  socket: Reg,
  name: string,
  addresses: readonly DecodedMessage[],
  before: number,
): void {
  const doing = `configuring the network device ${name}`;
  const at = b.blob(4096, 'answer');
  sendBatch(b, socket, encodeBatch([getLink({ name })]), `RTM_GETLINK ${name}`, { doing, answer: { at, size: 4096 } });
  const index = b.peek({ ...at, offset: linkAnswer.index }, 4, 'index');
  const link = { slot: 'index' };
  const own = addresses.flatMap((message) => readdress(message, before, link) ?? []);
  const batch = encodeBatch([...own, setLink({ index: link }, { up: true })]);
  sendBatch(b, socket, batch, `RTM_NEWADDR, RTM_NEWLINK ${name}`, { doing, fill: { index } });
}
