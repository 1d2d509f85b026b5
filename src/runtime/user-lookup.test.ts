import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lookupUser } from './user-lookup.ts';

const passwd = 'root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/var/www:/bin/false\n1000:x:5:5:trap:/:/bin/sh\n';
const group = 'root:x:0:\nweb:x:33:\nstaff:x:50:web,other\ntape:x:26:web\n';

test('an empty user is root with its own home and groups', () => {
  assert.deepEqual(lookupUser('', [], passwd, group), { uid: 0, gid: 0, additionalGids: [], home: '/root' });
});

test('a name gives uid, gid, home and supplementary groups', () => {
  assert.deepEqual(lookupUser('web', [], passwd, group), {
    uid: 33,
    gid: 33,
    additionalGids: [50, 26],
    home: '/var/www',
  });
});

test('an explicit group replaces the supplementary ones', () => {
  assert.deepEqual(lookupUser('web:staff', [], passwd, group), {
    uid: 33,
    gid: 50,
    additionalGids: [],
    home: '/var/www',
  });
});

test('a numeric user need not exist, and is never taken for a name (CVE-2024-40635, containerd 2026-46680)', () => {
  assert.deepEqual(lookupUser('4242:7', [], passwd, group), { uid: 4242, gid: 7, additionalGids: [], home: '/' });
  assert.equal(lookupUser('1000', [], passwd, group).uid, 1000);
  assert.throws(() => lookupUser('4294967296', [], passwd, group), /must be in range 0-2147483647/);
  assert.throws(() => lookupUser('0:4294967296', [], passwd, group), /must be in range 0-2147483647/);
});

test('unknown names are refused', () => {
  assert.throws(
    () => lookupUser('nobody', [], passwd, group),
    /unable to find user nobody: no matching entries in passwd file/,
  );
  assert.throws(() => lookupUser('web:none', [], passwd, group), /unable to find group none/);
});

test('--group-add takes names and numbers', () => {
  assert.deepEqual(lookupUser('33', ['tape', '999'], passwd, group).additionalGids, [50, 26, 999]);
});
