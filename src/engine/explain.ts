import type { Context } from '../ground/context.ts';
import type { Op, Plan } from '../kernel/plan.ts';
import { lookupTag } from '../runtime/container-plan.ts';
import { draft } from './create.ts';
import { resolveJoins } from './joins.ts';
import { randomId } from './names.ts';
import type { Parts } from './parts.ts';
import { runPlan } from './run-plan.ts';
import type { ContainerConfig } from './types.ts';

/**
 * The plan that `create` and `start` would run for this configuration. Nothing is written but an image that has to be pulled. Who a
 * user's name stands for is only known inside the container: it is shown as 65534 here.
 */
export async function explain(parts: Parts, context: Context, config: ContainerConfig): Promise<Plan> {
  const { image, spec } = await draft(parts, context, config);
  const record = { id: randomId(), name: config.name ?? 'explained', spec };
  const { plan, continue: goOn } = runPlan(parts, {
    record,
    root: await parts.images.previewRoot(record.id, image.id),
    attached: parts.network.preview(record),
    joins: resolveJoins(parts, spec.config),
    warn: () => {},
    preview: true,
  });
  if (goOn === undefined) return plan;
  const accounts = accountsOf(spec.config);
  return inlined(
    plan,
    goOn(
      accounts,
      accounts.map((text) => BigInt(text.length)),
    ),
  );
}

/** passwd and group in which every name of the configuration stands for 65534. */
function accountsOf(config: ContainerConfig): Buffer[] {
  const [user = '', group = ''] = (config.user ?? '').split(':', 2);
  const groups = [group, ...(config.groupAdd ?? [])].filter((name) => !/^\d*$/.test(name));
  const passwd = /^\d*$/.test(user) ? '' : `${user}:x:65534:65534::/:\n`;
  return [Buffer.from(passwd), Buffer.from(groups.map((name) => `${name}:x:65534:\n`).join(''))];
}

/** The plan with the chunk that answers its `sync` in the place where it runs. */
function inlined(plan: Plan, chunk: Plan): Plan {
  const put = (ops: readonly Op[]): Op[] =>
    ops.flatMap((op): Op[] => {
      if (op.op === 'sync' && op.tag === lookupTag) return [op, ...chunk.ops];
      return op.op === 'clone' ? [{ ...op, body: put(op.body) }] : [op];
    });
  return {
    ...plan,
    registers: Math.max(plan.registers, chunk.registers),
    registerNames: { ...plan.registerNames, ...chunk.registerNames },
    blobs: [...plan.blobs, ...chunk.blobs],
    ops: put(plan.ops),
  };
}
