import { AT_FDCWD } from '../../src/kernel/constants.ts';
import { hostFacts } from '../../src/kernel/facts.ts';
import { Keel } from '../../src/kernel/keel.ts';
import { PlanBuilder } from '../../src/kernel/plan-builder.ts';

const RENAME_EXCHANGE = 2;

/** Until it is disposed of, the two names of each pair change places some hundred thousand times a second: a keel plan that never ends. */
export function swapping(...pairs: readonly (readonly [string, string])[]): AsyncDisposable {
  const keel = Keel.spawn();
  const b = new PlanBuilder(hostFacts().arch);
  const again = b.label();
  b.doing('swapping').place(again);
  for (const [one, other] of pairs) {
    b.sys('renameat2', [AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE], { on: { any: 'continue' } });
  }
  b.jump(again);
  const ended = keel.run(b.build()).catch(() => {});
  return {
    async [Symbol.asyncDispose]() {
      await keel.close();
      await ended;
    },
  };
}
