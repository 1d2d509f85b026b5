import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DetachFilter, parseDetachKeys } from './detach-keys.ts';

const feed = (filter: DetachFilter, text: string): string => {
  const { data, detached } = filter.feed(Buffer.from(text));
  return Buffer.from(data).toString() + (detached ? '!' : '');
};

test('keys are written as docker writes them', () => {
  assert.deepEqual(parseDetachKeys('ctrl-p,ctrl-q'), [16, 17]);
  assert.deepEqual(parseDetachKeys('a,b'), [97, 98]);
  assert.deepEqual(parseDetachKeys('ctrl-@,ctrl-[,ctrl-_'), [0, 27, 31]);
  assert.throws(() => parseDetachKeys('foo-bar'), /invalid detach keys \(foo-bar\) provided/);
  assert.throws(() => parseDetachKeys(''), /invalid detach keys/);
});

test('the sequence ends the session, wherever the chunks are cut', () => {
  const filter = new DetachFilter([16, 17]);
  assert.equal(feed(filter, 'ab'), 'ab');
  assert.equal(feed(filter, 'c\x10'), 'c');
  assert.equal(feed(filter, '\x11rest'), '!');
});

test('what only begins the sequence goes on to the container', () => {
  const filter = new DetachFilter([16, 17]);
  assert.equal(feed(filter, '\x10x'), '\x10x');
  assert.equal(feed(filter, '\x10\x10'), '\x10');
  assert.equal(feed(filter, '\x11'), '!');
});

test('a sequence that overlaps itself is found', () => {
  const filter = new DetachFilter(parseDetachKeys('a,a,b'));
  assert.equal(feed(filter, 'aaab'), 'a!');
});
