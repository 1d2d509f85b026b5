import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type OpenEngine, openEngine, outputOf } from '../support/open-engine.ts';

/** The record's keeper, by its parenthood: the parent of the container's first process. */
function keeperOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

/** Another process that runs `code` and is killed, at once or after `ms`, when it has printed `now`. */
async function killedAt(e: OpenEngine, code: string, ms = 0): Promise<void> {
  const child = e.other(code);
  let errors = '';
  child.stderr?.on('data', (data: Buffer) => {
    errors += data.toString();
  });
  const closed = once(child, 'close');
  await Promise.race([once(child.stdout as NodeJS.ReadableStream, 'data'), closed]);
  assert.equal(child.exitCode, null, `ended by itself: ${errors}`);
  if (ms > 0) await sleep(ms);
  child.kill('SIGKILL');
  await closed;
}

test('a lost keeper takes the container with it; the next command records that and cleans up', async () => {
  await using e = await openEngine();
  const id = await e.run({ command: ['sh', '-c', 'sleep 1000 & sleep 1000'], network: 'bridge' });
  const { pid } = (await e.inspect(id)).state;
  process.kill(keeperOf(pid), 'SIGKILL');
  await e.engine.reconcile(e.context);
  const { state } = await e.inspect(id);
  assert.deepEqual([state.state, state.exitCode, state.pid], ['exited', 137, 0]);
  assert.match(state.error, /keeper \(process \d+\) was lost/);
  await e.engine.start(e.context, id);
  assert.equal((await e.inspect(id)).state.state, 'running');
});

test('a lost keeper is noticed by whoever waits, stops, or asks', async () => {
  await using e = await openEngine();
  for (const ask of [
    async (id: string) => assert.equal(await e.engine.wait(e.context, id), 137),
    async (id: string) => e.engine.stop(e.context, id),
    async (id: string) => assert.equal((await e.inspect(id)).state.state, 'exited'),
    async (id: string) => assert.rejects(e.engine.kill(e.context, id), { code: 'conflict' }),
    async (id: string) => assert.rejects(e.engine.exec(e.context, id, { command: ['true'] }), { code: 'conflict' }),
    async (id: string) => e.engine.remove(e.context, id),
    async (id: string) => e.engine.remove(e.context, id, { force: true }),
    async (id: string) => e.engine.start(e.context, id),
  ]) {
    const id = await e.run({ command: ['sleep', '1000'] });
    process.kill(keeperOf((await e.inspect(id)).state.pid), 'SIGKILL');
    await sleep(20);
    await ask(id);
  }
});

test('an attached client learns of a lost keeper', async () => {
  await using e = await openEngine();
  const { id } = await e.engine.create(e.context, { image: 'host', network: 'none', command: ['sleep', '1000'] });
  const attachment = await e.engine.start(e.context, id, { attach: { stdin: false, stdout: true, stderr: true } });
  assert.ok(attachment);
  const output = outputOf(attachment);
  process.kill(keeperOf((await e.inspect(id)).state.pid), 'SIGKILL');
  assert.equal((await output).exitCode, 137);
});

test('containers live on, and keep logging, when the engine and keel’s zygote are killed', async () => {
  await using e = await openEngine();
  await killedAt(
    e,
    `const { id } = await engine.create(context, host(['sh', '-c', 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done'], { name: 'survivor' }));
     await engine.start(context, id);
     console.log('now');
     await new Promise(() => setInterval(() => {}, 1e6));`,
  );
  const { state } = await e.inspect('survivor');
  assert.equal(state.state, 'running');
  const count = async (): Promise<number> => {
    let lines = 0;
    for await (const _ of e.engine.logs(e.context, 'survivor')) lines++;
    return lines;
  };
  const before = await count();
  for (const deadline = Date.now() + 20_000; (await count()) <= before; await sleep(50)) {
    assert.ok(Date.now() < deadline, `still ${before} lines`);
  }
});

test('keel’s zygote may be killed at any time: what was running goes on, what comes next works', async () => {
  await using e = await openEngine();
  const id = await e.run({ command: ['sleep', '1000'] });
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    let status = '';
    try {
      status = readFileSync(`/proc/${pid}/status`, 'utf8') + readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    } catch {
      continue;
    }
    if (new RegExp(`^PPid:\\s+${process.pid}$`, 'm').test(status) && status.includes('zygote')) {
      process.kill(Number(pid), 'SIGKILL');
    }
  }
  await sleep(50);
  assert.equal((await e.inspect(id)).state.state, 'running');
  assert.equal((await e.output({ command: ['echo', 'on'] })).stdout, 'on\n');
});

/** A Keel that kills this very process at a given point of the next start. */
const killingKeel = (point: string): string => `
  const { Keel } = await import('${join(import.meta.dirname, '../../src/kernel/keel.ts')}');
  const die = () => { console.log('now'); process.kill(process.pid, 'SIGKILL'); };
  const real = Keel.spawn();
  const killing = Engine.open({ ...options, keel: {
    async keep(...words) {
      if ('${point}' === 'before the plan') die();
      if ('${point}' === 'in the plan') setTimeout(die, 2);
      const kept = await real.keep(...words);
      if ('${point}' === 'kept') die();
      return { ...kept, async start() {
        if ('${point}' === 'before the gate') die();
        await kept.start();
        if ('${point}' === 'started') die();
      } };
    },
    warm: () => real.warm(),
    run: (...words) => real.run(...words),
    close: () => real.close(),
  } });
  const { id } = await killing.create(context, host(['sleep', '1000'], { name: 'cut', network: 'bridge', ports: [{ hostIp: '127.0.0.1', hostPort: 0, containerPort: 80, protocol: 'tcp' }] }));
  await killing.start(context, id);
`;

for (const point of ['before the plan', 'in the plan', 'kept', 'before the gate']) {
  test(`a start that is cut off ${point} is undone by the next command`, async () => {
    await using e = await openEngine();
    const child = e.other(killingKeel(point));
    await once(child, 'close');
    assert.equal(child.signalCode, 'SIGKILL');
    await e.engine.reconcile(e.context);
    const { state } = await e.inspect('cut');
    assert.deepEqual([state.state, state.exitCode], ['created', 128]);
    assert.match(state.error, /interrupted/);
    await e.engine.start(e.context, 'cut');
    assert.equal((await e.inspect('cut')).state.state, 'running');
  });
}

test('a start that is cut off when the program already runs has been a start', async () => {
  await using e = await openEngine();
  const child = e.other(killingKeel('started'));
  await once(child, 'close');
  await e.engine.reconcile(e.context);
  const { state, network } = await e.inspect('cut');
  assert.equal(state.state, 'running');
  assert.ok(state.pid > 0 && network.ip !== '');
  assert.equal(network.ports.length, 1);
  const x = await e.engine.exec(e.context, 'cut', { command: ['echo', 'alive'] });
  assert.equal((await outputOf(x)).stdout, 'alive\n');
});

test('SIGKILL at any instant of run --rm leaves nothing behind, and every next command works', async () => {
  await using e = await openEngine();
  const attempts = 24;
  for (let i = 0; i < attempts; i++) {
    // One whole run takes a few tens of milliseconds on an idle machine.
    const more = i % 2 === 0 ? `{ network: 'bridge', autoRemove: true }` : `{ autoRemove: true }`;
    await killedAt(
      e,
      `console.log('now');
       for (;;) {
         const { id } = await engine.create(context, host(['sh', '-c', 'echo $$'], ${more}));
         const attachment = await engine.start(context, id, { attach: { stdin: false, stdout: true, stderr: true } });
         for await (const _ of attachment.output);
         await attachment.exit;
       }`,
      1 + Math.random() * 200,
    );
    if (i % 6 === 5) assert.equal((await e.output({ command: ['echo', 'next'] })).stdout, 'next\n');
  }
  const deadline = Date.now() + 20_000;
  for (;;) {
    await e.engine.reconcile(e.context);
    const left = await e.engine.list(e.context, { all: true });
    if (left.length === 0) break;
    assert.ok(Date.now() < deadline, `still there: ${JSON.stringify(left.map((c) => [c.name, c.state]))}`);
    await sleep(50);
  }
});

test('SIGKILL in the middle of removal: the next command removes the rest', async () => {
  await using e = await openEngine();
  for (let i = 0; i < 8; i++) {
    await killedAt(
      e,
      `const mounts = [{ type: 'volume', source: '', target: '/data', readOnly: false }];
       const { id } = await engine.create(context, host(['true'], { mounts }));
       const attachment = await engine.start(context, id, { attach: { stdin: false, stdout: true, stderr: true } });
       for await (const _ of attachment.output);
       await attachment.exit;
       console.log('now');
       await engine.remove(context, id, { volumes: true });
       await new Promise(() => setInterval(() => {}, 1e6));`,
      Math.random() * 4,
    );
  }
  await e.engine.reconcile(e.context);
  const containers = await e.engine.list(e.context, { all: true });
  for (const { id, state } of containers) {
    assert.equal(state.state, 'exited');
    await e.engine.remove(e.context, id, { volumes: true });
  }
  assert.deepEqual(await e.engine.volumes.list(e.context), []);
});
