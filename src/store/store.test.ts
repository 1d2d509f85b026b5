import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Context } from '../ground/context.ts';
import { Database, isUniqueViolation } from './database.ts';
import { Leases } from './leases.ts';
import { openStore } from './store.ts';

const here = fileURLToPath(new URL('.', import.meta.url));
let folder: string;

/** A process that imports the store and runs `code`; `db` and `leases` are open on `root`. */
function other(root: string, code: string): ChildProcess {
  const program = `
    import { openStore } from '${here}store.ts';
    import { Leases } from '${here}leases.ts';
    import { Context } from '${here}../ground/context.ts';
    const db = openStore({ root: ${JSON.stringify(root)} });
    const leases = new Leases(db);
    const context = new Context();
    ${code}`;
  return spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module-typescript', '-e', program],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
}

describe('store', () => {
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'keelson-store-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  test('the file is private, in WAL mode, and opens again', () => {
    const root = join(folder, 'private');
    openStore({ root }).close();
    assert.equal(statSync(join(root, 'keelson.db')).mode & 0o777, 0o600);
    using db = openStore({ root });
    assert.deepEqual({ ...db.get<object>('PRAGMA journal_mode') }, { journal_mode: 'wal' });
    assert.deepEqual({ ...db.get<object>('PRAGMA foreign_keys') }, { foreign_keys: 1 });
  });

  test('a transaction that throws leaves nothing, and joins an outer one', () => {
    using db = Database.open(join(folder, 'tx.db'), [{ name: 't', sql: 'CREATE TABLE t (a INTEGER PRIMARY KEY)' }]);
    assert.throws(() =>
      db.immediate(() => {
        db.run('INSERT INTO t VALUES (1)');
        db.immediate(() => db.run('INSERT INTO t VALUES (2)'));
        throw new Error('no');
      }),
    );
    assert.equal(db.all('SELECT * FROM t').length, 0);
    db.run('INSERT INTO t VALUES (1)');
    assert.throws(
      () => db.run('INSERT INTO t VALUES (1)'),
      (error) => isUniqueViolation(error),
    );
  });

  test('what is not a database, and what a newer version wrote, are refused', () => {
    const path = join(folder, 'junk.db');
    writeFileSync(path, 'x'.repeat(4096));
    assert.throws(() => Database.open(path, []), { code: 'corrupt' });
    const newer = join(folder, 'newer.db');
    Database.open(newer, [{ name: 'a', sql: 'CREATE TABLE a (x)' }]).close();
    assert.throws(() => Database.open(newer, []), { code: 'unsupported' });
  });

  test('a new step of the schema is applied to an old file, and undone as a whole when it fails', () => {
    const path = join(folder, 'steps.db');
    const first = { name: 'a', sql: 'CREATE TABLE a (x)' };
    Database.open(path, [first]).close();
    assert.throws(() => Database.open(path, [first, { name: 'b', sql: 'CREATE TABLE b (x); bogus' }]));
    using db = Database.open(path, [first, { name: 'b', sql: 'CREATE TABLE b (x)' }]);
    assert.deepEqual(db.all('SELECT * FROM b'), []);
  });

  test('many processes open a new store at once and count together', async () => {
    const root = join(folder, 'many');
    const code = `
      for (let i = 0; i < 200; i++) db.immediate(() => {
        const row = db.get("SELECT actor FROM events WHERE type = 'count'");
        if (row === undefined) db.run("INSERT INTO events (time_nano, type, action, actor, attributes) VALUES (0, 'count', '', '1', '')");
        else db.run("UPDATE events SET actor = ? WHERE type = 'count'", String(Number(row.actor) + 1));
      });`;
    const children = Array.from({ length: 5 }, () => other(root, code));
    const ends = await Promise.all(children.map(async (child) => once(child, 'close')));
    for (const end of ends) assert.deepEqual(end, [0, null]);
    using db = openStore({ root });
    assert.equal(db.get<{ actor: string }>("SELECT actor FROM events WHERE type = 'count'")?.actor, '1000');
  });

  test('a lease is held by one at a time, within a process in order', async () => {
    using db = openStore({ root: join(folder, 'lease') });
    const leases = new Leases(db);
    const order: number[] = [];
    await Promise.all(
      [1, 2, 3, 4].map(async (n) => {
        using _ = await leases.acquire(new Context(), 'container:x', 'testing');
        assert.equal(leases.tryAcquire('container:x', 'more'), undefined);
        await new Promise((r) => setTimeout(r, 2));
        order.push(n);
      }),
    );
    assert.deepEqual(order, [1, 2, 3, 4]);
    assert.equal(leases.holder('container:x'), undefined);
    leases.tryAcquire('container:x', 'again')?.release();
  });

  test('waiting for a lease ends with the context, and does not hold up those behind', async () => {
    using db = openStore({ root: join(folder, 'lease-abort') });
    const leases = new Leases(db);
    const first = await leases.acquire(new Context(), 'k', 'first');
    const impatient = new Context().child({ timeoutMs: 10 });
    await assert.rejects(leases.acquire(impatient, 'k', 'second'), { code: 'timeout' });
    const third = leases.acquire(new Context(), 'k', 'third');
    first.release();
    (await third).release();
  });

  test('a lease waits for a living process and outlives no dead one', async () => {
    const root = join(folder, 'lease-crash');
    using db = openStore({ root });
    const leases = new Leases(db);
    const holder = other(
      root,
      `await leases.acquire(context, 'k', 'holding'); console.log('held'); setInterval(() => {}, 1e6);`,
    );
    await once(holder.stdout as NodeJS.ReadableStream, 'data');
    assert.deepEqual(leases.holder('k'), { pid: holder.pid, doing: 'holding' });
    assert.equal(leases.tryAcquire('k', 'mine'), undefined);
    const impatient = new Context().child({ timeoutMs: 30 });
    await assert.rejects(leases.acquire(impatient, 'k', 'mine'), { code: 'timeout' });
    const waiting = leases.acquire(new Context(), 'k', 'mine');
    holder.kill('SIGKILL');
    (await waiting).release();
  });
});
