import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Linux, LinuxNamespaceType, Mount, Spec } from '../../spec/runtime.ts';
import { checkSpec, checkUnprivileged } from './check-spec.ts';

const warned: string[] = [];
const options = { caller: process.pid, warn: (message: string) => warned.push(message) };
const base: Spec = { ociVersion: '1.2.1', root: { path: 'rootfs' }, process: { cwd: '/', user: { uid: 0, gid: 0 } } };
const types: LinuxNamespaceType[] = ['mount', 'pid', 'ipc', 'uts', 'network'];

function spec(linux: Linux, more: Partial<Spec> = {}): Spec {
  return { ...base, ...more, linux: { namespaces: types.map((type) => ({ type })), ...linux } };
}
const without = (...left: LinuxNamespaceType[]) => types.filter((t) => !left.includes(t)).map((type) => ({ type }));
const mounts = (...list: Mount[]) => spec({}, { mounts: list });
const ids = [{ containerID: 0, hostID: 1000, size: 1 }];

const refused: readonly (readonly [what: string, spec: Spec, words: RegExp])[] = [
  [
    'a host name of the host',
    spec({ namespaces: without('uts') }, { hostname: 'x' }),
    /hostname: unable to set hostname without a private UTS/,
  ],
  [
    'hidden paths of the host',
    spec({ namespaces: without('mount'), maskedPaths: ['/proc/x'] }),
    /linux\.maskedPaths: .*private MNT.*#masked-paths/,
  ],
  [
    'maps for nobody',
    spec({ uidMappings: ids }),
    /linux\.uidMappings: user namespace mappings specified, but no user namespace/,
  ],
  [
    'a user namespace without maps',
    spec({ namespaces: [...without(), { type: 'user' }] }),
    /linux\.uidMappings: a new user namespace needs mappings/,
  ],
  [
    'offsets for a time namespace that is joined',
    spec({ namespaces: [{ type: 'time', path: '/x' }], timeOffsets: { monotonic: { secs: 1 } } }),
    /linux\.timeOffsets/,
  ],
  [
    'a word a bind mount has no use for',
    mounts({ destination: '/x', source: '/', options: ['bind', 'nosiud'] }),
    /mounts\[0\]\.options: .*"nosiud".*config\.md#mounts/,
  ],
  [
    'a mapped mount that is no bind mount',
    mounts({ destination: '/x', type: 'tmpfs', options: ['idmap'] }),
    /only supported for bind-mounts/,
  ],
  [
    'mapped like a user namespace that is not there',
    mounts({ destination: '/x', source: '/', options: ['rbind', 'ridmap'] }),
    /mounts\[0\]: id-mapped mounts must have both/,
  ],
  ['a mount of nothing', mounts({ destination: '/x' }), /mounts\[0\]\.type: is missing/],
  ['a bind mount of nothing', mounts({ destination: '/x', type: 'bind' }), /mounts\[0\]\.source/],
  [
    'a sysctl of the host',
    spec({ sysctl: { 'kernel.panic': '1' } }),
    /linux\.sysctl\["kernel\.panic"\]: .*not in a separate kernel namespace/,
  ],
  [
    "one that only looks like the network's",
    spec({ sysctl: { 'net/../kernel/panic': '1' }, namespaces: without('network') }),
    /host network namespace/,
  ],
  [
    "a network of the caller's",
    spec({ namespaces: [{ type: 'network', path: '/proc/self/ns/net' }], sysctl: { 'net.ipv4.ip_forward': '1' } }),
    /not allowed in host network namespace/,
  ],
  [
    'two domain names',
    spec({ sysctl: { 'kernel.domainname': 'a' } }, { domainname: 'b' }),
    /"a" conflicts with the OCI "domainname" field, "b"/,
  ],
  [
    'a host name as a sysctl',
    spec({ sysctl: { 'kernel/hostname': 'a' } }, { hostname: 'b' }),
    /conflicts with the OCI "hostname" field/,
  ],
  [
    'links without a network',
    spec({ namespaces: without('network'), netDevices: { eth0: {} } }),
    /linux\.netDevices: .*NET namespace: eth0/,
  ],
  [
    'cache shares of a machine that has none',
    spec({ intelRdt: { closID: 'x' } }),
    /linux\.intelRdt: .*Intel RDT is not enabled/,
  ],
  [
    'a policy of no kind',
    spec({ memoryPolicy: { mode: '' } }),
    /linux\.memoryPolicy\.mode: invalid memory policy mode ""/,
  ],
];

for (const [what, config, words] of refused) {
  test(`refused: ${what}`, () => {
    assert.throws(() => checkSpec(config, options), words);
    assert.throws(() => checkSpec(config, options), /OCI runtime-spec 1\.3, config(-linux)?\.md#/);
  });
}

test('what goes together passes', () => {
  checkSpec(
    spec({ sysctl: { 'kernel.msgmax': '1', 'net/ipv4/conf/eth0.1/forwarding': '1', 'fs.mqueue.msg_max': '5' } }),
    options,
  );
  checkSpec(spec({ sysctl: { 'kernel.domainname': 'a' } }, { domainname: 'a' }), options);
  checkSpec(
    mounts({
      destination: '/x',
      source: '/',
      options: ['rbind', 'rro', 'rslave', 'idmap'],
      uidMappings: ids,
      gidMappings: ids,
    }),
    options,
  );
  checkSpec(mounts({ destination: '/x', options: ['remount', 'ro'] }), options);
  checkSpec(spec({ namespaces: without('mount') }), options);
  checkSpec(mounts({ destination: '/x', source: '/', options: ['bind', 'size=1k'] }), options);
  assert.match(warned.join(), /has no use for size=1k/);
  warned.length = 0;
  checkSpec(mounts({ destination: 'x', type: 'tmpfs' }), options);
  assert.match(warned.join(), /relative destination path/);
});

test('what an ordinary user may not do is refused in so many words', () => {
  assert.throws(() => checkUnprivileged(spec({ netDevices: { eth0: {} } })), /not supported for rootless containers/);
  assert.throws(
    () => checkUnprivileged(mounts({ destination: '/x', source: '/', options: ['bind', 'idmap'] })),
    /mounts\[0\]: id-mapped/,
  );
  checkUnprivileged(mounts({ destination: '/x', source: '/', options: ['bind'] }));
});
