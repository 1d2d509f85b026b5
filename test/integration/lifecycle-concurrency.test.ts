import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { Context } from '../../src/ground/context.ts';
import { openEngine } from '../support/open-engine.ts';

/** Waits for processes that must succeed; what they have printed. */
async function succeed(...children: ChildProcess[]): Promise<string[]> {
  return Promise.all(
    children.map(async (child) => {
      let [out, err] = ['', ''];
      child.stdout?.on('data', (data: Buffer) => {
        out += data.toString();
      });
      child.stderr?.on('data', (data: Buffer) => {
        err += data.toString();
      });
      const [code, signal] = (await once(child, 'close')) as [number, string];
      assert.deepEqual([code, signal, err], [0, null, '']);
      return out.trim();
    }),
  );
}

test('twenty containers at once from one process', async () => {
  await using e = await openEngine();
  const results = await Promise.all(
    Array.from({ length: 20 }, async (_, i) =>
      e.output({ command: ['echo', `${i}`], network: i % 2 ? 'bridge' : 'none' }),
    ),
  );
  assert.deepEqual(
    results.map((r) => r.stdout.trim()),
    Array.from({ length: 20 }, (_, i) => `${i}`),
  );
});

test('several processes run containers on one data root at once', async () => {
  await using e = await openEngine();
  const code = `
    const ips = await Promise.all(Array.from({ length: 4 }, async () => {
      const { id } = await engine.create(context, host(['sleep', '1000'], { network: 'bridge' }));
      await engine.start(context, id);
      return (await engine.inspect(context, id)).network.ip;
    }));
    console.log(ips.join(' '));
    await engine[Symbol.asyncDispose]();`;
  const printed = await succeed(e.other(code), e.other(code), e.other(code));
  const ips = printed.flatMap((line) => line.split(' '));
  assert.equal(new Set(ips).size, 12, ips.join(' '));
  const containers = await e.engine.list(e.context);
  assert.equal(containers.length, 12);
  await Promise.all(containers.map(async ({ id }) => e.engine.remove(e.context, id, { force: true })));
});

test('two processes at one container: starts, stops, renames and removals take turns', async () => {
  await using e = await openEngine();
  const { id } = await e.engine.create(e.context, {
    ...{ image: 'host', network: 'none', name: 'shared' },
    command: ['sleep', '1000'],
  });
  const code = `
    for (let i = 0; i < 12; i++) {
      try {
        if (i % 3 === 0) await engine.start(context, 'shared');
        else if (i % 3 === 1) await engine.kill(context, 'shared');
        else await engine.restart(context, 'shared', { timeout: 0 });
      } catch (error) {
        if (error.code !== 'conflict') throw error; // not running any more, or not yet
      }
    }
    await engine[Symbol.asyncDispose]();`;
  await succeed(e.other(code), e.other(code), e.other(code));
  await e.engine.start(e.context, id);
  const { state } = await e.inspect(id);
  assert.equal(state.state, 'running');
  const { processes } = await e.engine.top(e.context, id);
  assert.equal(processes.length, 1, 'one process, however many have started it');
});

test('a removal by several at once succeeds once, and the others say that it is gone', async () => {
  await using e = await openEngine();
  for (let i = 0; i < 5; i++) {
    const id = await e.run({ command: ['sleep', '1000'] });
    const results = await Promise.allSettled(
      Array.from({ length: 4 }, async () => e.engine.remove(e.context, id, { force: true })),
    );
    assert.ok(results.some((r) => r.status === 'fulfilled'));
    for (const r of results)
      if (r.status === 'rejected') assert.equal((r.reason as { code: string }).code, 'not-found');
  }
});

test('whoever follows events while others work sees a whole life of each container', async () => {
  await using e = await openEngine();
  const stop = new AbortController();
  const seen = new Map<string, string[]>();
  const context = new Context({ signal: stop.signal });
  const following = (async () => {
    for await (const { id, action } of e.engine.events(context, { filters: { type: ['container'] } })) {
      seen.set(id, [...(seen.get(id) ?? []), action]);
    }
  })();
  const code = `
    for (let i = 0; i < 5; i++) {
      const { id } = await engine.create(context, host(['true'], { autoRemove: true }));
      const attachment = await engine.start(context, id, { attach: { stdin: false, stdout: true, stderr: true } });
      for await (const _ of attachment.output);
      await attachment.exit;
    }
    await engine[Symbol.asyncDispose]();`;
  await succeed(e.other(code), e.other(code));
  await Promise.all(Array.from({ length: 5 }, async () => e.output({ command: ['true'] })));
  while ([...seen.values()].filter((actions) => actions.includes('destroy')).length < 15) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  stop.abort();
  await following;
  for (const actions of seen.values()) assert.deepEqual(actions, ['create', 'attach', 'start', 'die', 'destroy']);
});
