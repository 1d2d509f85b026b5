/** What is compared, one function each. Every one leaves the engines as it found them: without containers. */
import { setTimeout as sleep } from 'node:timers/promises';
import { dockerRun } from './docker-api.ts';
import { largeImage, smallImage } from './images.ts';
import { memoryOf } from './memory.ts';
import { keelson } from './ours.ts';
import { interleaved, median, run, timed } from './process.ts';
import type { Row } from './table.ts';
import { ctr, docker, podman } from './world.ts';

/** An engine's command line; all three take the same words. */
type Engine = readonly [string, ...string[]];
const engines = { keelson, docker, podman } satisfies Record<string, Engine>;

/** The library's part, given by main: see library.ts. */
export interface Library {
  run(): Promise<void>;
  startMany(count: number): Promise<void>;
  removeAll(): Promise<void>;
}

export async function runOnce(library: Library): Promise<Row[]> {
  const turns = 15;
  const cli = (engine: Engine) => async (): Promise<number> =>
    (await run([...engine, 'run', '--rm', smallImage])).seconds;
  const times = await interleaved(
    {
      library: () => timed(() => library.run()),
      api: () => timed(() => dockerRun(smallImage, ['/bin/true'])),
      keelson: cli(engines.keelson),
      docker: cli(engines.docker),
      podman: cli(engines.podman),
    },
    turns,
    2,
  );
  // The turns above leave caches to the peers; a budget in milliseconds is for a process that is warm.
  const warm: number[] = [];
  for (let i = 0; i < 40; i++) warm.push(await timed(() => library.run()));
  const ours = median(times.library);
  const api = { name: 'docker API', value: median(times.api) };
  const own = median(times.keelson);
  return [
    {
      what: 'library, one after the other: create, start, wait, remove; bridge',
      ours: median(warm.slice(10)),
      unit: 's',
      budget: { at: 0.02 },
    },
    { what: 'the same in turns with the Engine API', ours, peer: api, unit: 's', budget: { ratio: 0.1 } },
    {
      what: 'run --rm; bridge',
      ours: own,
      peer: { name: 'podman', value: median(times.podman) },
      unit: 's',
      budget: { ratio: 0.5 },
    },
    { what: 'run --rm; bridge', ours: own, peer: { name: 'docker', value: median(times.docker) }, unit: 's' },
  ];
}

const many = 60;

export async function runMany(library: Library): Promise<Row[]> {
  const start = async (engine: Engine): Promise<number> => {
    const seconds = await timed(() =>
      Promise.all(Array.from({ length: many }, () => run([...engine, 'run', '-d', smallImage, 'sleep', '1000']))),
    );
    await removeAll(engine);
    return seconds;
  };
  const times = await interleaved(
    {
      library: async () => {
        const seconds = await timed(() => library.startMany(many));
        await library.removeAll();
        return seconds;
      },
      keelson: () => start(engines.keelson),
      docker: () => start(engines.docker),
    },
    3,
    0,
  );
  const peer = { name: 'docker', value: median(times.docker) };
  return [
    {
      what: `${many} detached at once; library`,
      ours: median(times.library),
      peer,
      unit: 's',
      budget: { ratio: 1 / 8 },
    },
    {
      what: `${many} detached at once; command line`,
      ours: median(times.keelson),
      peer,
      unit: 's',
      budget: { ratio: 1 / 8 },
    },
  ];
}

/** What an idle container costs beside its own process. */
export async function memoryPerContainer(): Promise<Row[]> {
  const count = 20;
  const perContainer = async (engine: Engine, helpers: RegExp): Promise<number> => {
    const before = memoryOf(helpers);
    for (let i = 0; i < count; i++) await run([...engine, 'run', '-d', smallImage, 'sleep', '1000']);
    await sleep(1000);
    const after = memoryOf(helpers);
    await removeAll(engine);
    return (after - before) / count;
  };
  const ours = await perContainer(engines.keelson, /\bkeel( |$)|memfd:keel/);
  const shim = await perContainer(engines.docker, /containerd-shim|docker-proxy/);
  const conmon = await perContainer(engines.podman, /conmon/);
  const what = 'memory per idle container';
  return [
    { what, ours, unit: 'MB', budget: { at: 0.4 } },
    { what, ours, peer: { name: 'podman', value: conmon }, unit: 'MB' },
    { what, ours, peer: { name: 'docker', value: shim }, unit: 'MB' },
  ];
}

export async function pull(): Promise<Row[]> {
  const pullThenRemove = (command: Engine, remove: Engine) => async (): Promise<number> => {
    const { seconds } = await run(command);
    await run(remove);
    return seconds;
  };
  const times = await interleaved(
    {
      keelson: pullThenRemove([...keelson, 'pull', '-q', largeImage], [...keelson, 'rmi', largeImage]),
      docker: pullThenRemove([...docker, 'pull', '-q', largeImage], [...docker, 'rmi', largeImage]),
      podman: pullThenRemove([...podman, 'pull', '-q', largeImage], [...podman, 'rmi', largeImage]),
      containerd: pullThenRemove(
        [...ctr, 'image', 'pull', '--plain-http', largeImage],
        [...ctr, 'image', 'rm', '--sync', largeImage],
      ),
    },
    3,
    0,
  );
  const peers = [
    { name: 'docker', value: median(times.docker) },
    { name: 'podman', value: median(times.podman) },
    { name: 'containerd', value: median(times.containerd) },
  ].sort((a, b) => a.value - b.value);
  const ours = median(times.keelson);
  return peers.map((peer, i) => ({
    what: 'pull and unpack',
    ours,
    peer,
    unit: 's' as const,
    ...(i === 0 ? { budget: { ratio: 0.7 } } : {}),
  }));
}

export async function logs(): Promise<Row[]> {
  const line = 'a line of a log, 79 characters long and a newline, as programs write them all day';
  const script = `yes '${line.slice(0, 79)}' | head -c 300000000`;
  const write =
    (engine: Engine, ...options: string[]) =>
    async (): Promise<number> => {
      const seconds = await timed(async () => {
        const { stdout } = await run([...engine, 'run', '-d', ...options, smallImage, 'sh', '-c', script]);
        await run([...engine, 'wait', stdout.trim()]);
      });
      await removeAll(engine);
      return seconds;
    };
  const times = await interleaved(
    {
      keelson: write(keelson),
      docker: write(docker, '--log-driver', 'json-file'),
      podman: write(podman, '--log-driver', 'k8s-file'),
    },
    3,
    0,
  );
  const ours = median(times.keelson);
  const what = '300 MB of 80-byte lines to the log';
  return [
    { what, ours, peer: { name: 'docker', value: median(times.docker) }, unit: 's', budget: { ratio: 0.2 } },
    { what, ours, peer: { name: 'podman', value: median(times.podman) }, unit: 's', budget: { ratio: 1 } },
  ];
}

export async function exec(): Promise<Row[]> {
  const prepare = async (engine: Engine): Promise<string> =>
    (await run([...engine, 'run', '-d', smallImage, 'sleep', '1000'])).stdout.trim();
  const within = async (engine: Engine): Promise<() => Promise<number>> => {
    const id = await prepare(engine);
    return async () => (await run([...engine, 'exec', id, 'true'])).seconds;
  };
  const times = await interleaved(
    { keelson: await within(keelson), docker: await within(docker), podman: await within(podman) },
    15,
    2,
  );
  for (const engine of Object.values(engines)) await removeAll(engine);
  const ours = median(times.keelson);
  return [
    { what: 'exec', ours, peer: { name: 'docker', value: median(times.docker) }, unit: 's' },
    { what: 'exec', ours, peer: { name: 'podman', value: median(times.podman) }, unit: 's' },
  ];
}

export async function removeAll(engine: Engine): Promise<void> {
  const ids = (await run([...engine, 'ps', '-aq'])).stdout.split('\n').filter((id) => id !== '');
  if (ids.length > 0) await run([...engine, 'rm', '-f', ...ids]);
}
