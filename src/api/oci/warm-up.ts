/**
 * Planning the same thing often enough makes V8 compile it. Done once, in idle moments after the first call: the calls that follow take
 * a third of the time.
 */
import { tmpdir } from 'node:os';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { encodePlan } from '../../kernel/encode-plan.ts';
import { hostFacts } from '../../kernel/facts.ts';
import { createTags } from '../../runtime/create-plan.ts';
import { createContainer } from '../../runtime/lifecycle/create.ts';
import { defaultSpec } from '../../runtime/lifecycle/default-spec.ts';
import { farewellPlan } from '../../runtime/lifecycle/discard.ts';
import type { Host } from '../../runtime/lifecycle/host.ts';
import { rootlessOf } from '../../runtime/lifecycle/rootless.ts';
import { StateStore } from '../../runtime/lifecycle/state-store.ts';
import { formatConfig, parseConfig } from '../../spec/config.ts';
import { specVersion } from './texts.ts';

const rounds = 60;

/** Plans containers that nobody asked for, while `idle` says so; nothing of them leaves this process but a directory that is removed. False: it was interrupted. */
export async function warmUp(idle: () => boolean): Promise<boolean> {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-planner-'));
  try {
    const store = new StateStore(directory);
    const facts = hostFacts();
    const text = formatConfig(defaultSpec(specVersion));
    const host: Host = {
      store,
      facts,
      rootless: rootlessOf(facts, undefined),
      warn() {},
      debug() {},
      environment: {},
      caller: process.pid,
      cgroupManager: 'cgroupfs',
      runner: {
        async run(plan, hooks) {
          encodePlan(plan);
          if (hooks?.ahead) encodePlan(hooks.ahead());
          hooks?.onReport?.({ tag: createTags.started, registers: [BigInt(process.pid), 0n], blobs: [] });
          return { registers: new BigInt64Array(plan.registers) };
        },
      },
    };
    for (let round = 0; round < rounds; round++) {
      await turn();
      if (!idle()) return false;
      const parsed = parseConfig(text);
      const spec = { ...parsed, process: { user: { uid: 0, gid: 0 }, cwd: '/', ...parsed.process, terminal: false } };
      const found = await createContainer(host, {
        id: 'warm-up',
        bundle: { path: '/', spec, process: spec.process, text, rootfs: '/' },
        preserveFds: 0,
        noPivot: false,
        noNewKeyring: false,
        environment: {},
        go: round % 2 === 0,
      });
      encodePlan(farewellPlan(found, facts));
      store.remove(found.files);
    }
    return true;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
