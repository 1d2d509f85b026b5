import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import { AddressLeases } from './network.ts';
import { openStore } from './store.ts';

const pools = { pool: '10.77.0.0/29', pool6: '' };
const small = { first: 2, last: 6 };

describe('address leases', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'keelson-addresses-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  /** `take` in a store of the test's own. */
  function fresh(name: string) {
    const db = openStore({ root: join(folder, name) });
    const leases = new AddressLeases(db, 'keelson0');
    const take = (container: string) =>
      leases.take(
        container,
        () => small,
        () => pools,
      ).host;
    return { db, leases, take };
  }

  test('are given in turn, so that an address rests after its use', () => {
    const { db, leases, take } = fresh('turn');
    using _ = db;
    assert.deepEqual(['a', 'b', 'c'].map(take), [2, 3, 4]);
    leases.release('b');
    assert.deepEqual(['d', 'e', 'f'].map(take), [5, 6, 3]);
  });

  test('are one for each container: taking again gives the old one back', () => {
    const { db, leases, take } = fresh('again');
    using _ = db;
    assert.deepEqual(['a', 'a'].map(take), [2, 3]);
    assert.deepEqual(
      leases.list().map(({ container, host }) => [container, host]),
      [['a', 3]],
    );
    assert.equal(leases.of('a')?.host, 3);
    assert.equal(leases.release('a'), true);
    assert.equal(leases.release('a'), false);
  });

  test('run out with a clear error, and go on when one is given back', () => {
    const { db, leases, take } = fresh('full');
    using _ = db;
    for (const name of ['a', 'b', 'c', 'd', 'e']) take(name);
    assert.throws(
      () => take('f'),
      (error) =>
        isKeelsonError(error, 'exhausted') &&
        error.message === 'no available IPv4 addresses on bridge keelson0: all 5 of 10.77.0.0/29 are in use',
    );
    assert.equal(leases.of('f'), undefined);
    leases.release('c');
    assert.equal(take('f'), 4);
  });

  test('a container that holds the last address can take it again', () => {
    const { db, take } = fresh('last');
    using _ = db;
    for (const name of ['a', 'b', 'c', 'd', 'e']) take(name);
    assert.equal(take('c'), 4);
  });

  test('begin anew, where they are told to, when the pool changes', () => {
    const { db, leases, take } = fresh('change');
    using _ = db;
    take('a');
    const other = { pool: '10.78.0.0/16', pool6: 'fd00:1::/64' };
    const lease = leases.take(
      'b',
      () => ({ first: 2, last: 65534 }),
      () => ({ ...other, begin: 700 }),
    );
    assert.deepEqual(lease, { container: 'b', ...other, host: 700 });
    assert.deepEqual({ ...leases.pools() }, other);
    assert.equal(leases.of('a')?.pool, '10.77.0.0/29');
  });

  test('what was derived is kept until its key changes', () => {
    const { db, leases, take } = fresh('derived');
    using _ = db;
    take('a');
    let made = 0;
    const make = () => Uint8Array.of(++made);
    assert.deepEqual(
      ['k', 'k', 'l', 'l'].map((key) => leases.derived(key, make)[0]),
      [1, 1, 2, 2],
    );
  });

  test('are never given twice, whichever process asks', async () => {
    const root = join(folder, 'many');
    openStore({ root }).close();
    const here = import.meta.dirname;
    const program = `
      import { openStore } from '${here}/store.ts';
      import { AddressLeases } from '${here}/network.ts';
      const leases = new AddressLeases(openStore({ root: ${JSON.stringify(root)} }), 'keelson0');
      for (let i = 0; i < 100; i++) {
        const { host } = leases.take(process.argv[1] + i, () => ({ first: 2, last: 400 }), () => (${JSON.stringify(pools)}));
        console.log(host);
        if (i % 5 === 0) leases.release(process.argv[1] + i);
      }`;
    const outputs = await Promise.all(
      ['a', 'b', 'c'].map(async (name) => {
        const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program, name], {
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        let text = '';
        child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        assert.deepEqual(await once(child, 'close'), [0, null]);
        return text.trim().split('\n');
      }),
    );
    assert.equal(outputs.flat().length, 300);
    using db = openStore({ root });
    const held = new AddressLeases(db, 'keelson0').list();
    assert.equal(held.length, 240);
    assert.equal(new Set(outputs.flat()).size, 300, 'in turn: none came round a second time');
  });
});
