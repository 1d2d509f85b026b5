import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseChallenges } from './registry-auth.ts';

test('challenges are read as RFC 9110 has them, several in one header too', () => {
  assert.deepEqual(parseChallenges('Bearer realm="https://a/t",service="s, x",scope="repository:a/b:pull,push"'), [
    { scheme: 'bearer', parameters: { realm: 'https://a/t', service: 's, x', scope: 'repository:a/b:pull,push' } },
  ]);
  assert.deepEqual(parseChallenges('Negotiate, basic Realm = "a \\"quoted\\" one" , Bearer realm=x,error=y'), [
    { scheme: 'basic', parameters: { realm: 'a "quoted" one' } },
    { scheme: 'bearer', parameters: { realm: 'x', error: 'y' } },
  ]);
  assert.deepEqual(parseChallenges(''), []);
  assert.deepEqual(parseChallenges('realm="x"'), []);
  assert.deepEqual(parseChallenges(`Bearer realm="${'x'.repeat(50_000)}`).length <= 1, true);
});
