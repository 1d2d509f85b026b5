import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  MOUNT_ATTR__ATIME,
  MOUNT_ATTR_NOATIME,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOUNT_ATTR_STRICTATIME,
  MS_PRIVATE,
  MS_REC,
  MS_SHARED,
  MS_SLAVE,
} from './constants.ts';
import { mountOptionWords, parseMountOptions } from './mount-flags.ts';

test('flags are sorted from what the file system is told', () => {
  const o = parseMountOptions(['nosuid', 'noexec', 'nodev', 'mode=755', 'size=65536k']);
  assert.equal(o.set, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV);
  assert.equal(o.clear, 0);
  assert.deepEqual(o.data, ['mode=755', 'size=65536k']);
  assert.equal(o.bind, false);
  assert.equal('propagation' in o, false);
});

test('bind mounts and their propagation', () => {
  const o = parseMountOptions(['rbind', 'rprivate', 'ro']);
  assert.equal(o.bind, true);
  assert.equal(o.recursive, true);
  assert.equal(o.set, MOUNT_ATTR_RDONLY);
  assert.equal(o.propagation, MS_PRIVATE | MS_REC);
  assert.equal(parseMountOptions(['bind']).recursive, false);
  assert.equal(parseMountOptions(['bind', 'slave']).propagation, MS_SLAVE);
  assert.equal(parseMountOptions(['rprivate', 'rshared']).propagation, MS_SHARED | MS_REC);
});

test('the later of two words wins', () => {
  assert.deepEqual(pick(['ro', 'rw']), { set: 0, clear: MOUNT_ATTR_RDONLY });
  assert.deepEqual(pick(['rw', 'ro']), { set: MOUNT_ATTR_RDONLY, clear: 0 });
  assert.deepEqual(pick(['noatime', 'strictatime']), { set: MOUNT_ATTR_STRICTATIME, clear: MOUNT_ATTR__ATIME });
  assert.deepEqual(parseMountOptions(['sync', 'async', 'lazytime']).superblock, ['lazytime']);
});

test('an access time setting clears its whole field first, as mount_setattr(2) demands', () => {
  assert.deepEqual(pick(['noatime']), { set: MOUNT_ATTR_NOATIME, clear: MOUNT_ATTR__ATIME });
  assert.deepEqual(pick(['relatime']), { set: 0, clear: MOUNT_ATTR__ATIME });
});

test('recursive attributes are apart from those of the top mount', () => {
  const o = parseMountOptions(['rro', 'rnosuid', 'rexec', 'rnoatime', 'nodev']);
  assert.equal(o.set, MOUNT_ATTR_NODEV);
  assert.equal(o.recursiveSet, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOATIME);
  assert.equal(o.recursiveClear, MOUNT_ATTR_NOEXEC | MOUNT_ATTR__ATIME);
});

test('id-mapped mounts, tmpcopyup, remount, words without effect', () => {
  assert.equal(parseMountOptions(['bind', 'idmap']).idmap, 'mount');
  assert.equal(parseMountOptions(['rbind', 'ridmap']).idmap, 'tree');
  assert.equal(parseMountOptions(['tmpcopyup']).copyUp, true);
  assert.equal(parseMountOptions(['remount']).remount, true);
  assert.deepEqual(parseMountOptions(['defaults', 'loud', '', 'silent']).data, []);
});

test("names of JavaScript's own are the file system's", () => {
  assert.deepEqual(parseMountOptions(['constructor', 'toString', 'rtoString']).data, [
    'constructor',
    'toString',
    'rtoString',
  ]);
});

test('every word that the specification requires is known', () => {
  const required =
    'async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec noiversion ' +
    'nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared rslave runbindable rw ' +
    'shared silent slave strictatime suid sync unbindable nosymfollow symfollow ratime rdev rdiratime rexec rnoatime ' +
    'rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow rrelatime rro rrw rstrictatime rsuid rsymfollow ' +
    'idmap ridmap tmpcopyup mand nomand';
  for (const word of required.split(' ')) {
    assert.ok(mountOptionWords.includes(word), word);
    assert.deepEqual(parseMountOptions([word]).data, [], word);
  }
});

function pick(words: string[]): { set: number; clear: number } {
  const { set, clear } = parseMountOptions(words);
  return { set, clear };
}
