/** Netlink sockets, batches and sysctls of the host as operations of a plan. */
import { AT_FDCWD, O_CLOEXEC, O_WRONLY, SOCK_CLOEXEC } from '../kernel/constants.ts';
import { slotsNamed, type Batch } from '../kernel/netlink.ts';
import type { BlobRef, Reg, Value } from '../kernel/plan.ts';
import type { PlanBuilder, Rules } from '../kernel/plan-builder.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOL_NETLINK = 270;
const NETLINK_EXT_ACK = 11;

/** A socket of this process's network namespace. The kernel's own words about a refusal come with it. */
export function openNetlink(b: PlanBuilder, protocol: number): Reg {
  const fd = b.sys('socket', [AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol]);
  const on = b.blob(Uint8Array.of(1, 0, 0, 0), '1');
  b.sys('setsockopt', [fd, SOL_NETLINK, NETLINK_EXT_ACK, on, 4], { on: { any: 'continue' } });
  return fd;
}

/** What goes into a batch's slots: a value of four bytes in host order. */
export type Fill = Readonly<Record<string, Value>>;

/** Puts a batch into the plan's memory. `text` is how `explain` shows it. */
export function batchBlob(b: PlanBuilder, batch: Batch, text: string): BlobRef {
  return b.blob(batch.bytes, text);
}

/** Writes values into a batch that is in the plan's memory. */
export function fillSlots(b: PlanBuilder, at: BlobRef, batch: Batch, fill: Fill, size: 2 | 4 = 4): void {
  for (const [name, value] of Object.entries(fill)) {
    for (const offset of slotsNamed(batch, name)) b.poke({ ...at, offset }, size, value);
  }
}

/** Sends a batch and awaits its acknowledgements. */
export function sendBatch(
  b: PlanBuilder,
  fd: Value,
  batch: Batch,
  text: string,
  options: { doing?: string; fill?: Fill; on?: Rules; answer?: { at: BlobRef; size: number } } = {},
): Reg {
  const at = batchBlob(b, batch, text);
  fillSlots(b, at, batch, options.fill ?? {});
  return b.netlink(fd, at, batch.bytes.length, batch.acks, {
    ...(options.doing !== undefined && { doing: options.doing }),
    ...(options.on && { on: options.on }),
    ...(options.answer && { answer: options.answer }),
  });
}

/** Sets /proc/sys/net/`key` of this process's network namespace. */
export function setNetSysctl(b: PlanBuilder, key: string, value: string): void {
  b.doing(`setting net/${key} to ${value}`);
  const fd = b.sys('openat', [AT_FDCWD, `/proc/sys/net/${key}`, O_WRONLY | O_CLOEXEC, 0]);
  b.write(fd, value);
  b.sys('close', [fd]);
}
