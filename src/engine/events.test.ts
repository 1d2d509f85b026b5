import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Context } from '../ground/context.ts';
import type { Database } from '../store/database.ts';
import { openStore } from '../store/store.ts';
import { Events } from './events.ts';
import type { EngineEvent, Filters } from './types.ts';

let root: string;
let db: Database;
before(() => {
  root = mkdtempSync(join(tmpdir(), 'keelson-events-'));
  db = openStore({ root });
});
after(() => {
  db.close();
  rmSync(root, { recursive: true });
});

async function all(stream: AsyncIterable<EngineEvent>): Promise<string[]> {
  const found: string[] = [];
  for await (const { action, id } of stream) found.push(`${action} ${id}`);
  return found;
}

test('past events between two times, by filters', async () => {
  const events = new Events(db);
  const since = Date.now();
  events.emit('container', 'start', 'aaa1', { name: 'web', image: 'app:1', tier: 'front' });
  events.emit('container', 'exec_start: ls', 'aaa1', { name: 'web', image: 'app:1' });
  events.emit('volume', 'create', 'data');
  const past = async (filters: Filters): Promise<string[]> =>
    all(events.stream(new Context(), { since, until: Date.now(), filters }));
  assert.deepEqual(await past({}), ['start aaa1', 'exec_start: ls aaa1', 'create data']);
  assert.deepEqual(await past({ type: ['volume'] }), ['create data']);
  assert.deepEqual(await past({ container: ['web'] }), ['start aaa1', 'exec_start: ls aaa1']);
  assert.deepEqual(await past({ container: ['aaa'], event: ['start'] }), ['start aaa1']);
  assert.deepEqual(await past({ event: ['exec_start', 'create'] }), ['exec_start: ls aaa1', 'create data']);
  assert.deepEqual(await past({ label: ['tier=front'] }), ['start aaa1']);
  assert.deepEqual(await past({ image: ['app'] }), ['start aaa1', 'exec_start: ls aaa1']);
  await assert.rejects(past({ colour: ['red'] }), { message: "invalid filter 'colour'" });
});

test('following begins with what comes next, and ends with the signal', async () => {
  const events = new Events(db);
  events.emit('container', 'create', 'before');
  const stop = new AbortController();
  const following = all(events.stream(new Context({ signal: stop.signal })));
  await sleep(20);
  for (let i = 0; i < 600; i++) db.immediate(() => events.emit('container', 'start', `c${i}`));
  await sleep(100);
  stop.abort();
  const found = await following;
  assert.deepEqual([found.length, found[0], found.at(-1)], [600, 'start c0', 'start c599']);
});

test('the log of events is bounded', () => {
  const events = new Events(db);
  db.immediate(() => {
    for (let i = 0; i < 12_000; i++) events.emit('image', 'pull', String(i));
  });
  const { count } = db.get<{ count: number }>('SELECT count(*) AS count FROM events') ?? { count: 0 };
  assert.ok(count <= 10_500, String(count));
});
