/**
 * The OCI runtime's command line against crun's and runc's. Each verb is measured over a batch of containers, started one after the other by a shell:
 * what a large process takes to spawn a child would be more than what is measured.
 */
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { smallImage } from './images.ts';
import { interleaved, median, run } from './process.ts';
import type { Row } from './table.ts';
import { podman } from './world.ts';

const work = '/run/keelson-bench/oci';
const runtimes = { keelson: '/keelson/bin/keelson-oci', crun: 'crun', runc: 'runc' } as const;
type Runtime = keyof typeof runtimes;
const names = Object.keys(runtimes) as Runtime[];
const batch = 10;

export async function oci(): Promise<Row[]> {
  for (const name of ['true', 'sleep'] as const) await makeBundle(name);
  const rows = [...(await runs()), ...(await lives()), ...(await throughPodman())];
  rows.push({ what: 'keelson-oci: planner after all that', ours: plannerMemory(), unit: 'MB', budget: { at: 80 } });
  rows.push(...(await amongMany()), ...(await withoutPlanner()), ...(await idle()));
  return rows;
}

const bundleOf = (program: string): string => join(work, program);
const command = (name: Runtime): string => `${runtimes[name]} --root ${work}/state/${name}`;

/** The default configuration, as `runc spec` writes it, with a static program. */
async function makeBundle(program: 'true' | 'sleep'): Promise<void> {
  const bundle = bundleOf(program);
  rmSync(bundle, { recursive: true, force: true });
  mkdirSync(join(bundle, 'rootfs/bin'), { recursive: true });
  copyFileSync('/bin/busybox', join(bundle, 'rootfs/bin/busybox'));
  for (const name of ['true', 'sleep']) symlinkSync('busybox', join(bundle, 'rootfs/bin', name));
  await run(['runc', 'spec', '--bundle', bundle]);
  const file = join(bundle, 'config.json');
  const config = JSON.parse(readFileSync(file, 'utf8')) as { process: Record<string, unknown> };
  const args = program === 'true' ? ['/bin/true'] : ['/bin/sleep', '1000'];
  writeFileSync(file, JSON.stringify({ ...config, process: { ...config.process, terminal: false, args } }, null, '\t'));
}

/** No container keeps a stream of ours open. */
function quiet(line: string): string {
  return `${line} </dev/null >/dev/null 2>${work}/errors || { cat ${work}/errors >&2; exit 1; }`;
}

/** Seconds for each of a batch: `line` is for the shell, `$i` the container's number. */
async function each(line: string): Promise<number> {
  const numbers = Array.from({ length: batch }, (_, i) => i + 1).join(' ');
  const { seconds } = await run(['sh', '-ec', `for i in ${numbers}; do ${quiet(line)}; done`]);
  return seconds / batch;
}

function against(what: string, times: Readonly<Record<Runtime, readonly number[]>>, ratio: number): Row[] {
  const ours = median(times.keelson);
  return (['crun', 'runc'] as const).map((name) => ({
    what: `keelson-oci: ${what}`,
    ours,
    peer: { name, value: median(times[name]) },
    unit: 's' as const,
    ...(name === 'crun' ? { budget: { ratio } } : {}),
  }));
}

async function runs(): Promise<Row[]> {
  const one = (name: Runtime) => async () => each(`${command(name)} run --bundle ${bundleOf('true')} run$i`);
  const times = await interleaved({ keelson: one('keelson'), crun: one('crun'), runc: one('runc') }, 15, 3);
  return against('run of a static true', times, 0.6);
}

const verbs = {
  create: `create --bundle ${bundleOf('sleep')} life$i`,
  start: 'start life$i',
  state: 'state life$i',
  exec: 'exec life$i /bin/true',
  kill: 'kill life$i KILL',
  delete: 'delete life$i',
} as const;

/** The life of a container, a verb after the other. By names of their own: two runtimes would take the same control group. */
async function lives(): Promise<Row[]> {
  const rows: Row[] = [];
  const times = Object.fromEntries(
    Object.keys(verbs).map((verb) => [verb, { keelson: [], crun: [], runc: [] }]),
  ) as unknown as Record<keyof typeof verbs, Record<Runtime, number[]>>;
  for (let turn = 0; turn < 12; turn++) {
    for (const [verb, line] of Object.entries(verbs) as [keyof typeof verbs, string][]) {
      for (const name of names) {
        const seconds = await each(`${command(name)} ${line.replace('life', name)}`);
        if (turn >= 2) times[verb][name].push(seconds);
      }
      if (verb === 'kill') await sleep(200); // until the kernel is done with them
    }
  }
  for (const verb of Object.keys(verbs) as (keyof typeof verbs)[]) rows.push(...against(verb, times[verb], 1));
  return rows;
}

async function throughPodman(): Promise<Row[]> {
  const one = (runtime: string) => async () =>
    (await run([...podman, '--runtime', runtime, 'run', '--rm', '--network', 'none', smallImage, 'true'])).seconds;
  const times = await interleaved({ keelson: one(runtimes.keelson), crun: one('/usr/bin/crun') }, 15, 2);
  const [ours, crun] = [median(times.keelson), median(times.crun)];
  const peer = { name: 'crun', value: crun };
  return [{ what: 'podman run --rm with keelson-oci', ours, peer, unit: 's', budget: { ratio: 1 } }];
}

/**
 * 1,000 containers: one that was created, under as many names. `state` of one must not take longer for them, and `list`, which reads them all, not
 * longer than crun's.
 */
async function amongMany(): Promise<Row[]> {
  const roots = { keelson: join(work, 'many/keelson'), crun: join(work, 'many/crun') };
  const rooted = (name: 'keelson' | 'crun'): string => `${runtimes[name]} --root ${roots[name]}`;
  rmSync(join(work, 'many'), { recursive: true, force: true });
  const state = async () => each(`${rooted('keelson')} state one`);
  const list = (name: 'keelson' | 'crun') => async () => each(`${rooted(name)} list`);
  for (const name of ['keelson', 'crun'] as const) {
    mkdirSync(roots[name], { recursive: true });
    const words = `create --bundle ${bundleOf('sleep')} one`;
    await run(['sh', '-ec', quiet(`${rooted(name)} ${words}`)]);
  }
  const alone = await interleaved({ state, list: list('keelson') }, 10, 2);
  for (const name of ['keelson', 'crun'] as const) copies(roots[name], 1000);
  const many = await interleaved({ state, list: list('keelson'), crun: list('crun') }, 5, 1);
  for (const name of ['keelson', 'crun'] as const) await run(['sh', '-c', `${rooted(name)} delete --force one`]);
  rmSync(join(work, 'many'), { recursive: true, force: true });
  const row = (what: string, ours: readonly number[], name: string, theirs: readonly number[], ratio: number): Row => ({
    what: `keelson-oci: ${what} among 1,000`,
    ours: median(ours),
    peer: { name, value: median(theirs) },
    unit: 's',
    budget: { ratio },
  });
  return [row('state', many.state, 'alone', alone.state, 1.25), row('list', many.list, 'crun', many.crun, 1)];
}

function copies(root: string, count: number): void {
  for (let i = 0; i < count; i++) {
    const to = join(root, `copy${i}`);
    // What it waits at is not copied: a FIFO is only looked for.
    cpSync(join(root, 'one'), to, { recursive: true, filter: (path) => !path.endsWith('exec.fifo') });
    for (const file of ['state.json', 'status']) {
      const path = join(to, file);
      if (existsSync(path)) writeFileSync(path, readFileSync(path, 'utf8').replace('"id":"one"', `"id":"copy${i}"`));
    }
  }
}

function planner(): number | undefined {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('\0/keelson/dist/planner.mjs\0')) return Number(pid);
    } catch {
      // ended in between
    }
  }
  return undefined;
}

/** Its resident set, shared pages included. */
function plannerMemory(): number {
  const status = readFileSync(`/proc/${planner() ?? 'none'}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1024;
}

async function withoutPlanner(): Promise<Row[]> {
  const seconds: number[] = [];
  for (let turn = 0; turn < 7; turn++) {
    const pid = planner();
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    await sleep(200);
    seconds.push((await run([runtimes.keelson, '--root', `${work}/state/keelson`, 'list'])).seconds);
    await sleep(1000);
  }
  return [{ what: 'keelson-oci: first call, no planner', ours: median(seconds), unit: 's', budget: { at: 0.25 } }];
}

async function idle(): Promise<Row[]> {
  await sleep(62_000);
  const ours = planner() === undefined ? 0 : plannerMemory();
  return [{ what: 'keelson-oci: planner after a minute of rest', ours, unit: 'MB', budget: { at: 0 } }];
}
