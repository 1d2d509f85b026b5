import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostFacts } from '../../kernel/facts.ts';
import type { Linux, Mount, Spec } from '../../spec/runtime.ts';
import { withDefaultMaps, withPlainMounts } from './plain-spec.ts';

const base: Spec = { ociVersion: '1.2.1', root: { path: 'rootfs' } };
const plain = (mount: Mount, linux: Linux = {}) =>
  withPlainMounts({ ...base, linux, mounts: [mount] }, '/bundle', '/bundle/rootfs').mounts?.[0];

test('sources count from the bundle, destinations that name the root from the root', () => {
  assert.equal(plain({ destination: '/x', source: 'data', options: ['bind'] })?.source, '/bundle/data');
  assert.equal(plain({ destination: '/x', source: 'tmpfs', type: 'tmpfs' })?.source, 'tmpfs');
  assert.equal(plain({ destination: '/bundle/rootfs/x', type: 'tmpfs' })?.destination, '/x');
  assert.equal(plain({ destination: '/bundle/rootfsx', type: 'tmpfs' })?.destination, '/bundle/rootfsx');
});

test('crun’s words for the maps of a mount', () => {
  const own = [{ containerID: 0, hostID: 1000, size: 100 }];
  const mount = (word: string) =>
    plain({ destination: '/x', source: '/', options: ['bind', word] }, { uidMappings: own });
  assert.deepEqual(mount('ridmap=uids=0-1-10#10-20-5;gids=3-4-1'), {
    destination: '/x',
    source: '/',
    options: ['bind', 'ridmap'],
    uidMappings: [
      { containerID: 0, hostID: 1, size: 10 },
      { containerID: 10, hostID: 20, size: 5 },
    ],
    gidMappings: [{ containerID: 3, hostID: 4, size: 1 }],
  });
  assert.deepEqual(mount('idmap=uids=@5-7-1;gids=0-0-1')?.uidMappings, [{ containerID: 5, hostID: 1007, size: 1 }]);
  for (const word of ['idmap=', 'idmap=uids=0-1-2', 'idmap=uids=0-1;gids=0-1-1', 'idmap=uids=0-1-0;gids=0-1-1'])
    assert.throws(() => mount(word), /mounts\[0\]\.options\[1\]: .*is not of the form/, word);
});

test('a user namespace without maps of root’s has root as its user', () => {
  const facts = { euid: 0, egid: 0 } as HostFacts;
  const spec: Spec = {
    ...base,
    process: { cwd: '/', user: { uid: 2, gid: 0 } },
    linux: { namespaces: [{ type: 'user' }] },
  };
  const given = { uids: [{ start: 5000, count: 10 }], gids: [] };
  assert.deepEqual(withDefaultMaps(spec, facts, () => given).linux, {
    ...spec.linux,
    uidMappings: [
      { containerID: 0, hostID: 5000, size: 2 },
      { containerID: 2, hostID: 0, size: 1 },
      { containerID: 3, hostID: 5002, size: 8 },
    ],
    gidMappings: [{ containerID: 0, hostID: 0, size: 1 }],
  });
  const joined: Spec = { ...spec, linux: { namespaces: [{ type: 'user', path: '/x' }] } };
  assert.equal(
    withDefaultMaps(joined, facts, () => given),
    joined,
  );
});
