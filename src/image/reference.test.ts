import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import { familiarReference, formatReference, isHostReference, parseReference } from './reference.ts';

const hex = 'e80fa3ace8a4ca54d3cf0f4b629d5e10022ed96f19dfab0591da8cbcacf21bd4';
const digest = `sha256:${hex}`;

test('references are normalised as docker does it', () => {
  const normal: Record<string, string> = {
    alpine: 'docker.io/library/alpine:latest',
    'alpine:3.19': 'docker.io/library/alpine:3.19',
    'user/repo': 'docker.io/user/repo:latest',
    'docker.io/alpine': 'docker.io/library/alpine:latest',
    'index.docker.io/alpine': 'docker.io/library/alpine:latest',
    'index.docker.io/user/repo:1': 'docker.io/user/repo:1',
    localhost: 'docker.io/library/localhost:latest',
    'localhost/x': 'localhost/x:latest',
    'localhost:5000/x': 'localhost:5000/x:latest',
    '127.0.0.1:5000/team/app:1.0': '127.0.0.1:5000/team/app:1.0',
    '[::1]:5000/x': '[::1]:5000/x:latest',
    '[2001:db8::1]/x': '[2001:db8::1]/x:latest',
    'ghcr.io/a/b/c/d:v1': 'ghcr.io/a/b/c/d:v1',
    'Registry/x': 'Registry/x:latest',
    'a__b/c-----d/e.f_g': 'docker.io/a__b/c-----d/e.f_g:latest',
    [`alpine@${digest}`]: `docker.io/library/alpine@${digest}`,
    [`alpine:3@${digest}`]: `docker.io/library/alpine:3@${digest}`,
    host: 'docker.io/library/host:latest',
    'x:UPPER_.-9': 'docker.io/library/x:UPPER_.-9',
    [`${hex}x`]: `docker.io/library/${hex}x:latest`,
    [`user/${hex}`]: `docker.io/user/${hex}:latest`,
  };
  for (const [typed, expected] of Object.entries(normal)) {
    const parsed = parseReference(typed);
    assert.equal(formatReference(parsed), expected);
    assert.deepEqual(parseReference(expected), parsed, `${expected} parses to itself`);
  }
});

test('the familiar form leaves out what is implied, and parses back', () => {
  const familiar: Record<string, string> = {
    alpine: 'alpine:latest',
    'docker.io/user/repo:1': 'user/repo:1',
    'docker.io/library/a/b:1': 'library/a/b:1',
    'localhost:5000/x': 'localhost:5000/x:latest',
    [`alpine@${digest}`]: `alpine@${digest}`,
  };
  for (const [typed, expected] of Object.entries(familiar)) {
    assert.equal(familiarReference(parseReference(typed)), expected);
    assert.deepEqual(parseReference(expected), parseReference(typed));
  }
});

test('a bare name stays without a tag when asked for', () => {
  assert.equal(formatReference(parseReference('alpine', { bare: true })), 'docker.io/library/alpine');
  assert.equal(formatReference(parseReference('alpine:1', { bare: true })), 'docker.io/library/alpine:1');
});

test('what is no reference is refused in docker’s words', () => {
  const refused: [typed: string, message: RegExp][] = [
    ['', /repository name must have at least one component/],
    ['Alpine', /invalid reference format: repository name \(library\/Alpine\) must be lowercase/],
    ['localhost:5000/Team/app', /repository name \(Team\/app\) must be lowercase/],
    [hex, /^invalid repository name \(.*\), cannot specify 64-byte hexadecimal strings$/],
    ['a'.repeat(248), /must not be more than 255 characters/],
    ['x'.repeat(5000), /too long/],
    ['alpine:', /invalid reference format/],
    [`alpine:${'x'.repeat(129)}`, /invalid reference format/],
    ['alpine:-x', /invalid reference format/],
    ['-alpine', /invalid reference format/],
    ['a..b', /invalid reference format/],
    ['a___b', /invalid reference format/],
    ['a/', /invalid reference format/],
    ['/a', /invalid reference format/],
    ['a//b', /invalid reference format/],
    ['../a', /invalid reference format/],
    ['a b', /invalid reference format/],
    ['alpine\n', /invalid reference format/],
    ['a\0b', /invalid reference format/],
    ['-host.io/x', /invalid reference format/],
    ['host.io:port/x', /invalid reference format/],
    ['http://x/y', /invalid reference format/],
    ['alpine@sha256:abc', /invalid reference format/],
    [`alpine@sha256:${hex.toUpperCase()}`, /unsupported or invalid digest/],
    [`alpine@md5:${hex}`, /unsupported or invalid digest/],
    [`alpine@${digest}0`, /unsupported or invalid digest/],
  ];
  for (const [typed, message] of refused) {
    assert.throws(
      () => parseReference(typed),
      (error: unknown) => isKeelsonError(error, 'invalid-argument') && message.test(error.message),
      typed,
    );
  }
});

test('only the bare word host is the machine itself', () => {
  assert.ok(isHostReference('host'));
  for (const image of ['host:latest', 'library/host', 'HOST', 'hosts']) assert.ok(!isHostReference(image));
});
