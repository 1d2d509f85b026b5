/** The ports that keelson's table forwards, as the kernel has them. */
import type { Context } from '../ground/context.ts';
import { isKeelsonError } from '../ground/errors.ts';
import type { Keel } from '../kernel/keel.ts';
import { decodeMessages, encodeBatch } from '../kernel/netlink.ts';
import { decodeElements, dumpElements, NETLINK_NETFILTER, type Table } from '../kernel/nftables.ts';
import type { Plan } from '../kernel/plan.ts';
import { PlanBuilder } from '../kernel/plan-builder.ts';
import { openNetlink, sendBatch } from '../runtime/netlink-steps.ts';
import { mapNames, removeElements } from './ruleset.ts';

interface Element {
  readonly map: string;
  readonly key: Uint8Array;
  readonly target: Uint8Array;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Removes every forwarding to one of the addresses. Nothing happens where there is none. */
export async function removeForwardings(
  context: Context,
  keel: Keel,
  arch: Plan['arch'],
  table: Table,
  addresses: readonly Uint8Array[],
): Promise<void> {
  const wanted = new Set(addresses.map(hex));
  const elements = await listForwardings(context, keel, arch, table);
  const stale = elements.filter(({ target }) => wanted.has(hex(target)));
  // Far below what one message can hold.
  for (let at = 0; at < stale.length; at += 400) {
    const b = new PlanBuilder(arch).group('network').doing('removing stale port forwardings');
    const nf = openNetlink(b, NETLINK_NETFILTER);
    const some = stale.slice(at, at + 400);
    // ENOENT: another process has been faster.
    sendBatch(b, nf, removeElements(some, table), `delelement ${some.length}`, { on: { ENOENT: 'continue' } });
    await keel.run(b.build(), {}, context);
  }
}

async function listForwardings(context: Context, keel: Keel, arch: Plan['arch'], table: Table): Promise<Element[]> {
  try {
    return await dump(context, keel, arch, table, 256 << 10);
  } catch (error) {
    if (!isKeelsonError(error) || error.details.errno !== 'EMSGSIZE') throw error;
    return dump(context, keel, arch, table, 8 << 20);
  }
}

/** `size`: room for one map. */
async function dump(context: Context, keel: Keel, arch: Plan['arch'], table: Table, size: number): Promise<Element[]> {
  const b = new PlanBuilder(arch).group('network').doing('listing port forwardings');
  const nf = openNetlink(b, NETLINK_NETFILTER);
  const lists = mapNames.map((map) => {
    const at = b.blob(size);
    const batch = encodeBatch([dumpElements(table, map)]);
    const used = sendBatch(b, nf, batch, `getelements ${map}`, { answer: { at, size }, on: { ENOENT: 'continue' } });
    return { map, at, used };
  });
  b.report(
    0,
    lists.map(({ used }) => used),
    lists.map(({ at }) => at),
  );
  let found: Element[] = [];
  await keel.run(
    b.build(),
    {
      onReport: ({ registers, blobs }) => {
        found = lists.flatMap(({ map }, i) => {
          const used = Math.max(0, Number(registers[i] ?? 0n)); // negative: -ENOENT, there is no table
          return elementsOf(map, blobs[i]?.subarray(0, used) ?? new Uint8Array());
        });
      },
    },
    context,
  );
  return found;
}

/** From the answer to a dump of one map. */
function elementsOf(map: string, answer: Uint8Array): Element[] {
  const size = map.startsWith('publish4') ? 4 : 16;
  return decodeMessages(answer)
    .flatMap((message) => decodeElements(message)?.elements ?? [])
    .map(({ key, data }) => ({ map, key, target: data?.subarray(0, size) ?? new Uint8Array() }));
}
