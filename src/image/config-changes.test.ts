import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import { applyChanges } from './config-changes.ts';

test('instructions of a Dockerfile change the config', () => {
  const base = { Env: ['PATH=/bin', 'A=old'], Labels: { keep: 'me' }, WorkingDir: '/srv' };
  const changed = applyChanges(base, [
    'CMD ["sh", "-c", "x"]',
    'ENTRYPOINT exec /app --flag',
    'env A=new B="two words" C=a\\ b',
    "ENV OLD the rest 'of' it",
    'LABEL a=b "spaced key"=\'single "quoted"\'',
    'EXPOSE 80 8000-8002/udp',
    'VOLUME ["/data", "/more"]',
    'VOLUME /x /y',
    'USER 1000:1000',
    'WORKDIR sub',
    'STOPSIGNAL SIGINT',
    'ONBUILD RUN make',
    'HEALTHCHECK --interval=1m30s --retries=3 CMD curl localhost',
  ]);
  assert.deepEqual(changed.Cmd, ['sh', '-c', 'x']);
  assert.deepEqual(changed.Entrypoint, ['/bin/sh', '-c', 'exec /app --flag']);
  assert.deepEqual(changed.Env, ['PATH=/bin', 'A=new', 'B=two words', 'C=a b', "OLD=the rest 'of' it"]);
  assert.deepEqual(changed.Labels, { keep: 'me', a: 'b', 'spaced key': 'single "quoted"' });
  assert.deepEqual(Object.keys(changed.ExposedPorts ?? {}), ['80/tcp', '8000/udp', '8001/udp', '8002/udp']);
  assert.deepEqual(Object.keys(changed.Volumes ?? {}), ['/data', '/more', '/x', '/y']);
  assert.equal(changed.User, '1000:1000');
  assert.equal(changed.WorkingDir, '/srv/sub');
  assert.equal(changed.StopSignal, 'SIGINT');
  assert.deepEqual(changed.OnBuild, ['RUN make']);
  assert.deepEqual(changed.Healthcheck, { Interval: 90e9, Retries: 3, Test: ['CMD-SHELL', 'curl localhost'] });
  assert.deepEqual(applyChanges({ Cmd: ['x'] }, ['CMD []', 'HEALTHCHECK NONE']), {
    Cmd: [],
    Healthcheck: { Test: ['NONE'] },
  });
  assert.deepEqual(base.Env, ['PATH=/bin', 'A=old'], 'what was given stays as it was');
});

test('what is no change of a config is refused with the instruction', () => {
  for (const wrong of [
    'RUN rm -rf /',
    'FROM x',
    '',
    'ENV',
    'ENV lonely',
    'LABEL =x',
    'EXPOSE 0',
    'EXPOSE 70000',
    'EXPOSE 90-80',
    'EXPOSE 80/icmp',
    'USER a b',
    'ENV A="open',
    'ONBUILD ONBUILD x',
    'HEALTHCHECK --interval=soon CMD x',
    'HEALTHCHECK maybe',
    'USER a\0b',
  ]) {
    assert.throws(
      () => applyChanges({}, [wrong]),
      (e: unknown) => isKeelsonError(e, 'invalid-argument') && e.message.startsWith('change "'),
      wrong,
    );
  }
});
