import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { cleanPath, mergeConfig, mergeEnv, parseExposed } from './merge-config.ts';
import type { ContainerConfig } from './types.ts';

const merge = (config: Partial<ContainerConfig>, image = {}) => mergeConfig({ image: 'x', ...config }, image);
const argv = (config: Partial<ContainerConfig>, image = {}): string[] => {
  const { path, args } = merge(config, image);
  return [path, ...args];
};

describe('entrypoint and command', () => {
  const image = { Entrypoint: ['/entry', '-e'], Cmd: ['serve'] };

  test('come from the image where the caller says nothing', () => {
    assert.deepEqual(argv({}, image), ['/entry', '-e', 'serve']);
    assert.deepEqual(argv({ command: [] }, image), ['/entry', '-e', 'serve']);
  });

  test('a command of the caller’s replaces the image’s', () => {
    assert.deepEqual(argv({ command: ['ls', '-l'] }, image), ['/entry', '-e', 'ls', '-l']);
  });

  test('an entrypoint of the caller’s replaces the image’s and clears its command', () => {
    assert.deepEqual(argv({ entrypoint: ['/mine'] }, image), ['/mine']);
    assert.deepEqual(argv({ entrypoint: ['/mine'], command: ['x'] }, image), ['/mine', 'x']);
    assert.deepEqual(argv({ entrypoint: [], command: ['x'] }, image), ['x']);
  });

  test('with neither there is nothing to run', () => {
    assert.throws(() => merge({}), { code: 'invalid-argument', message: 'no command specified' });
    assert.throws(() => merge({ entrypoint: [] }, image), { message: 'no command specified' });
  });

  test('the command that inspect shows is without the entrypoint', () => {
    assert.deepEqual(merge({}, image).config.command, ['serve']);
    assert.deepEqual(merge({}, image).config.entrypoint, ['/entry', '-e']);
  });
});

test('the caller’s variables stand before those of the image, and instead of them', () => {
  assert.deepEqual(mergeEnv(['B=2', 'A=1', 'B=3'], ['PATH=/x', 'A=0']), ['B=3', 'A=1', 'PATH=/x']);
  assert.deepEqual(mergeEnv(['A'], ['A=0', 'C=1']), ['A', 'C=1'], 'a bare name takes the image’s away');
});

test('labels, user, working directory, stop signal and ports: the caller’s, else the image’s', () => {
  const image = {
    Labels: { a: 'image', b: 'image' },
    User: 'app',
    WorkingDir: '/srv/./app/',
    StopSignal: 'SIGINT',
    ExposedPorts: { '80/tcp': {}, '53/udp': {}, '9/sctp': {} },
  };
  const { config } = merge(
    { command: ['x'], labels: { b: 'mine' }, exposedPorts: [{ port: 80, protocol: 'tcp' }] },
    image,
  );
  assert.deepEqual(config.labels, { a: 'image', b: 'mine' });
  assert.deepEqual([config.user, config.workingDir, config.stopSignal], ['app', '/srv/app', 'SIGINT']);
  assert.deepEqual(config.exposedPorts, [
    { port: 80, protocol: 'tcp' },
    { port: 53, protocol: 'udp' },
  ]);
  assert.throws(() => merge({ command: ['x'] }, { WorkingDir: 'relative' }), /needs to be an absolute path/);
});

test('ranges of exposed ports', () => {
  assert.equal(parseExposed('8000-8010/udp').length, 11);
  for (const bad of ['0', '70000', '9-8', 'x', '1-2-3', '-1'])
    assert.throws(() => parseExposed(bad), { code: 'invalid-argument' });
});

describe('an image is hostile input', () => {
  test('VOLUME never leads out of the root', () => {
    const volumes = (...targets: string[]) =>
      merge({ command: ['x'] }, { Volumes: Object.fromEntries(targets.map((t) => [t, {}])) }).imageVolumes;
    assert.deepEqual(volumes('/../../etc', 'data', '/a/../b/', '/b'), ['/etc', '/data', '/b']);
    assert.throws(() => volumes('/..'), /destination can't be '\/'/);
    assert.throws(() => volumes('/a\0b'), { code: 'invalid-argument' });
  });

  test('what it brings is bounded', () => {
    const many = (n: number): string[] => Array.from({ length: n }, (_, i) => `V${i}=1`);
    assert.throws(() => merge({ command: ['x'] }, { Env: many(10_001) }), /more than 10000 environment variables/);
    const labels = Object.fromEntries(many(10_001).map((name) => [name, '']));
    assert.throws(() => merge({ command: ['x'] }, { Labels: labels }), /more than 10000 labels/);
  });

  test('fields that containers don’t inherit are dropped', () => {
    const { config } = merge(
      { command: ['x'] },
      { Privileged: true, privileged: true, securityOpt: ['seccomp=unconfined'] },
    );
    assert.equal(config.privileged, undefined);
    assert.equal(config.securityOpt, undefined);
  });
});

test('paths inside are cleaned by name', () => {
  assert.deepEqual(['', '/', 'a', '/a/', '//a/./b', '/../a'].map(cleanPath), ['/', '/', '/a', '/a', '/a/b', '/a']);
});
