/** Every peer with every runtime, in the peers' root. Prints a line of JSON for each task. */
import { buildah } from './buildah.ts';
import { ending, live } from './cli-live.ts';
import { once } from './cli-once.ts';
import { Ctr, ctr } from './ctr.ts';
import { dockerRemap } from './docker-remap.ts';
import { podmanOnly, pods } from './podman-only.ts';
import type { Line } from './report.ts';
import { type Check, Engine, type Scenario } from './scenario.ts';
import { remapHost, type Runtime, runtimes, startWorld, versions } from './world.ts';

const print = (entry: Line): void => console.log(JSON.stringify(entry));
/** Peers or scenarios by name; all without. */
const chosen = process.argv.slice(2);

interface Job {
  readonly peer: string;
  readonly runtime: Runtime;
  readonly scenario: string;
  play(check: Check): Promise<void>;
}

function job<E>(peer: string, runtime: Runtime, scenario: Scenario<E>, engine: E): Job {
  return { peer, runtime, scenario: scenario.name, play: (check) => scenario.play(engine, check) };
}

function jobs(): Job[] {
  const all = runtimes.flatMap((runtime) => {
    const [podman, docker] = [new Engine('podman', runtime), new Engine('docker', runtime)];
    return [
      ...[once, live, ending, podmanOnly, pods].map((scenario) => job('podman', runtime, scenario, podman)),
      ...[once, live, ending].map((scenario) => job('docker', runtime, scenario, docker)),
      job('docker', runtime, dockerRemap, new Engine('docker', runtime, ['env', `DOCKER_HOST=${remapHost}`])),
      job('containerd', runtime, ctr, new Ctr(runtime)),
      job('buildah', runtime, buildah, runtime),
    ];
  });
  return all.filter(({ peer, runtime, scenario }) => chosen.every((word) => [peer, runtime, scenario].includes(word)));
}

async function play(one: Job): Promise<void> {
  const { peer, runtime, scenario } = one;
  const begun = Date.now();
  const check: Check = (task, expected, seen) =>
    print({ peer, runtime, task, ok: expected.test(seen), seen, expected: expected.source });
  try {
    await one.play(check);
  } catch (error) {
    print({ peer, runtime, task: `${scenario}: it goes on`, ok: false, seen: String(error), expected: '' });
  }
  console.error(`${peer} ${runtime} ${scenario}: ${((Date.now() - begun) / 1000).toFixed(1)} s`);
}

await startWorld();
print({ versions: await versions() });
const queue = jobs();
// One worker for each runtime: they go on side by side, and none waits for another of its own.
await Promise.all(
  runtimes.map(async (runtime) => {
    for (const next of queue) if (next.runtime === runtime) await play(next);
  }),
);
process.exit(0);
