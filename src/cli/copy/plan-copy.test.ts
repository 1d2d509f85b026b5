import assert from 'node:assert/strict';
import { test } from 'node:test';
import { archiveName, planCopy, renamed, splitContainerPath } from './plan-copy.ts';

const file = (path: string): { path: string; exists: true; isDirectory: false } => ({
  path,
  exists: true,
  isDirectory: false,
});
const directory = (path: string): { path: string; exists: true; isDirectory: true } => ({
  path,
  exists: true,
  isDirectory: true,
});
const nothing = (path: string): { path: string; exists: false; isDirectory: false } => ({
  path,
  exists: false,
  isDirectory: false,
});

test('a container is named before a colon, unless the argument can only be a path', () => {
  assert.deepEqual(splitContainerPath('web:/etc/passwd'), { container: 'web', path: '/etc/passwd' });
  assert.deepEqual(splitContainerPath('web:'), { container: 'web', path: '' });
  for (const path of ['/a:b', './a:b', '../a:b', 'plain']) assert.equal(splitContainerPath(path), undefined);
});

test('an archive has the last part of a path, or a dot for the content of a directory', () => {
  assert.deepEqual(['/a/b', '/a/b/', '/a/b/.', '/', '.', '/.', 'x'].map(archiveName), [
    'b',
    'b',
    '.',
    '.',
    '.',
    '.',
    'x',
  ]);
});

test('a file goes into a directory, over a file, or under a new name', () => {
  assert.deepEqual(planCopy(file('/src/f'), directory('/d')), { directory: '/d', rename: undefined });
  assert.deepEqual(planCopy(file('/src/f'), file('/d/g')), { directory: '/d', rename: { from: 'f', to: 'g' } });
  assert.deepEqual(planCopy(file('/src/f'), nothing('/d/g')), { directory: '/d', rename: { from: 'f', to: 'g' } });
  assert.throws(() => planCopy(file('/src/f'), nothing('/d/g/')), /no such directory/);
});

test('a directory goes into a directory or becomes a new one, never over a file', () => {
  assert.deepEqual(planCopy(directory('/src'), directory('/d')), { directory: '/d', rename: undefined });
  assert.deepEqual(planCopy(directory('/src'), nothing('/d/new')), {
    directory: '/d',
    rename: { from: 'src', to: 'new' },
  });
  assert.deepEqual(planCopy(directory('/src'), nothing('/d/new/')), {
    directory: '/d',
    rename: { from: 'src', to: 'new' },
  });
  assert.deepEqual(planCopy(directory('/src/.'), nothing('/d/new')), {
    directory: '/d',
    rename: { from: '.', to: 'new' },
  });
  assert.throws(() => planCopy(directory('/src'), file('/d/f')), /cannot copy directory/);
});

test('names are changed at their beginning only', () => {
  const rename = { from: 'src', to: 'new' };
  assert.deepEqual(
    ['src/', 'src/a/src', 'srcx'].map((path) => renamed(path, rename)),
    ['new', 'new/a/src', 'srcx'],
  );
  const content = { from: '.', to: 'new' };
  assert.deepEqual(
    ['./', './a', 'b/c'].map((path) => renamed(path, content)),
    ['new', 'new/a', 'new/b/c'],
  );
  assert.equal(renamed('a/b', undefined), 'a/b');
});
