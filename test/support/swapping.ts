import { AT_FDCWD } from '../../src/kernel/constants.ts';
import { hostFacts } from '../../src/kernel/facts.ts';
import { Keel } from '../../src/kernel/keel.ts';
import { PlanBuilder } from '../../src/kernel/plan-builder.ts';

const RENAME_EXCHANGE = 2;
type Names = readonly [string, string];

/** Until it is disposed of, the two names of each pair change places some hundred thousand times a second: a keel plan that never ends. */
export function swapping(...pairs: readonly Names[]): AsyncDisposable {
  return forever((b) => {
    for (const [one, other] of pairs) rename(b, [one, other], RENAME_EXCHANGE);
  });
}

/** The same with what is at the first name only: it goes to the second, whatever is there, and back. */
export function toAndFro(...pairs: readonly Names[]): AsyncDisposable {
  return forever((b) => {
    for (const [one, other] of pairs) {
      rename(b, [one, other], 0);
      rename(b, [other, one], 0);
    }
  });
}

function rename(b: PlanBuilder, [from, to]: Names, flags: number): void {
  b.sys('renameat2', [AT_FDCWD, from, AT_FDCWD, to, flags], { on: { any: 'continue' } });
}

function forever(body: (b: PlanBuilder) => void): AsyncDisposable {
  const keel = Keel.spawn();
  const b = new PlanBuilder(hostFacts().arch);
  const again = b.label();
  b.doing('swapping').place(again);
  body(b);
  b.jump(again);
  const ended = keel.run(b.build()).catch(() => {});
  return {
    async [Symbol.asyncDispose]() {
      await keel.close();
      await ended;
    },
  };
}
