import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Container } from '../../src/engine/types.ts';
import { type OpenEngine, openEngine } from '../support/open-engine.ts';

/** Waits until the container is as wanted, without touching it by a command that would help it along. */
async function until(e: OpenEngine, id: string, wanted: (c: Container) => boolean, ms = 90_000): Promise<Container> {
  for (const deadline = Date.now() + ms; ; await sleep(20)) {
    const container = await e.inspect(id);
    if (wanted(container)) return container;
    assert.ok(Date.now() < deadline, `still ${JSON.stringify(container.state)}, ${container.restartCount} restarts`);
  }
}

test('on-failure restarts as often as it says, with nobody there, and then gives up', async () => {
  await using e = await openEngine();
  const id = await e.run({
    command: ['sh', '-c', 'echo run; exit 6'],
    restart: { name: 'on-failure', maximumRetryCount: 2 },
  });
  const { state, restartCount } = await until(e, id, (c) => c.state.state === 'exited');
  assert.deepEqual([state.exitCode, restartCount], [6, 2]);
  let runs = 0;
  for await (const _ of e.engine.logs(e.context, id)) runs++;
  assert.equal(runs, 3);
});

test('on-failure leaves alone what succeeds', async () => {
  await using e = await openEngine();
  const id = await e.run({ command: ['true'], restart: { name: 'on-failure', maximumRetryCount: 0 } });
  const { restartCount } = await until(e, id, (c) => c.state.state === 'exited');
  assert.equal(restartCount, 0);
});

test('always comes back after an exit and after the loss of its keeper; stop ends that until the next start', async () => {
  await using e = await openEngine();
  const id = await e.run({ command: ['sh', '-c', 'sleep 0.1'], restart: { name: 'always', maximumRetryCount: 0 } });
  await until(e, id, (c) => c.restartCount >= 2);
  await e.engine.stop(e.context, id);
  const stopped = await e.inspect(id);
  assert.equal(stopped.state.state, 'exited');
  await sleep(600);
  const { state, restartCount } = await e.inspect(id);
  assert.deepEqual([state.state, restartCount], ['exited', stopped.restartCount]);
  await e.engine.start(e.context, id);
  assert.equal((await e.inspect(id)).restartCount, 0);
  await until(e, id, (c) => c.restartCount >= 1);
});

test('a container whose keeper is lost is started again by its policy', async () => {
  await using e = await openEngine();
  const id = await e.run({ command: ['sleep', '1000'], restart: { name: 'unless-stopped', maximumRetryCount: 0 } });
  const { pid } = (await e.inspect(id)).state;
  const keeper = Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  process.kill(keeper, 'SIGKILL');
  await sleep(50);
  assert.equal((await e.inspect(id)).state.state, 'restarting');
  await sleep(150);
  await e.engine.reconcile(e.context);
  const { state, restartCount } = await e.inspect(id);
  assert.deepEqual([state.state, restartCount], ['running', 1]);
  assert.notEqual(state.pid, pid);
});

test('a container that is restarting can be stopped, started and removed', async () => {
  await using e = await openEngine();
  const crashing = { command: ['false'], restart: { name: 'always', maximumRetryCount: 0 } } as const;
  const [stopped, started, removed] = [await e.run(crashing), await e.run(crashing), await e.run(crashing)];
  for (const id of [stopped, started, removed]) await until(e, id, (c) => c.restartCount >= 2);
  const restarting = async (id: string) => until(e, id, (c) => c.state.state === 'restarting');
  await restarting(stopped);
  await e.engine.stop(e.context, stopped);
  await restarting(started);
  await e.engine.start(e.context, started);
  assert.equal((await e.inspect(started)).restartCount, 0);
  await e.engine.remove(e.context, removed, { force: true });
  await sleep(500);
  assert.equal((await e.inspect(stopped)).state.state, 'exited');
  await assert.rejects(e.inspect(removed), { code: 'not-found' });
});

test('--rm with nobody there: the keeper sees to it', async () => {
  await using e = await openEngine();
  const id = await e.run({ command: ['sh', '-c', 'sleep 0.2'], autoRemove: true });
  for (const deadline = Date.now() + 10_000; ; await sleep(20)) {
    if ((await e.engine.list(e.context, { all: true })).length === 0) break;
    assert.ok(Date.now() < deadline);
  }
  await assert.rejects(e.inspect(id), { code: 'not-found' });
});

test('a container that gets a policy while it runs is restarted by it, with nobody there', async () => {
  await using e = await openEngine();
  const id = await e.run({ command: ['sh', '-c', 'sleep 1; exit 7'] });
  await e.engine.update(e.context, id, { restart: { name: 'on-failure', maximumRetryCount: 1 } });
  assert.equal((await e.inspect(id)).config.restart?.maximumRetryCount, 1);
  // Only past events are looked at: any other command would help it along.
  let runs = 0;
  for (const deadline = Date.now() + 90_000; runs < 2 && Date.now() < deadline; await sleep(100)) {
    runs = await starts(e, id);
  }
  assert.equal(runs, 2);
  await until(e, id, (c) => c.state.state === 'exited' && c.restartCount === 1);
});

async function starts(e: OpenEngine, id: string): Promise<number> {
  let count = 0;
  const events = e.engine.events(e.context, {
    since: 0,
    until: Date.now() - 1, // the future would be waited for, and looked after
    filters: { container: [id], event: ['start'] },
  });
  for await (const _ of events) count++;
  return count;
}

test('a policy can’t be had together with --rm', async () => {
  await using e = await openEngine();
  const always = { name: 'always', maximumRetryCount: 0 } as const;
  await assert.rejects(e.run({ command: ['true'], autoRemove: true, restart: always }), {
    code: 'conflict',
    message: "can't create 'AutoRemove' container with restart policy",
  });
});

test('a resident engine deals with exits itself', async () => {
  await using e = await openEngine();
  const child = e.other(`
    await engine[Symbol.asyncDispose]();
    const resident = Engine.open({ ...options, resident: true, exitCommand: ['/bin/false'] });
    const { id } = await resident.create(context, host(['sh', '-c', 'exit 1'], { name: 'kept', restart: { name: 'on-failure', maximumRetryCount: 3 } }));
    await resident.start(context, id);
    console.log('now');
    setInterval(() => {}, 1e6);`);
  try {
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    const { restartCount } = await until(e, 'kept', (c) => c.state.state === 'exited');
    assert.equal(restartCount, 3);
  } finally {
    child.kill('SIGKILL');
  }
});
