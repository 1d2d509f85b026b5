/** Mounts of every kind, as a container sees them in its mountinfo, its files and their owners. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Linux, Mount, Spec } from '../../src/spec/runtime.ts';
import { Oci } from '../support/oci.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';

const mapped = [{ containerID: 0, hostID: 100_000, size: 65_536 }];

/** `linux` is merged, `mounts` are added, the root is writable. */
function withMounts(mounts: readonly Mount[], linux: Linux = {}): (spec: Spec) => Spec {
  return (spec) => ({
    ...spec,
    root: { ...spec.root, readonly: false },
    mounts: [...(spec.mounts ?? []), ...mounts],
    linux: { ...spec.linux, ...linux },
  });
}

/** Lines of a mountinfo by mount point; the last one counts. */
function mountsOf(text: string): Map<string, { options: string[]; type: string; data: string[] }> {
  return new Map(
    text
      .split('\n')
      .filter((line) => / - /.test(line))
      .map((line) => {
        const words = line.split(' ');
        const dash = words.indexOf('-');
        const split = (i: number) => (words[i] ?? '').split(',');
        return [words[4] ?? '', { options: split(5), type: words[dash + 1] ?? '', data: split(dash + 3) }];
      }),
  );
}

test('attributes, data, places: one container with mounts of many kinds', { skip }, async () => {
  await using oci = new Oci();
  const tree = join(oci.directory, 'tree');
  mkdirSync(join(tree, 'sub'), { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', 'sub', join(tree, 'sub')]);
  const mounts: Mount[] = [
    { destination: '/bind', source: tree, options: ['rbind', 'ro', 'nosuid'] },
    { destination: '/recursive', source: tree, options: ['rbind', 'rro', 'rnoexec', 'rnoatime'] },
    { destination: '/flat', source: tree, options: ['bind', 'nosymfollow', 'private'] },
    // Relative to the bundle, and to the root.
    { destination: 'relative', source: 'config.json', options: ['bind'] },
    { destination: '/link/behind', source: 'config.json', options: ['bind'] },
    { destination: '/copied', type: 'tmpfs', source: 'tmpfs', options: ['tmpcopyup', 'ro'] },
    { destination: '/mode', type: 'tmpfs', source: 'tmpfs', options: ['mode=1500', 'size=64k', 'nr_inodes=10'] },
    { destination: '/again', type: 'tmpfs', source: 'again' },
    { destination: '/again', options: ['remount', 'ro', 'noexec'] },
    { destination: '/over', type: 'overlay', source: 'overlay', options: [`lowerdir=${tree}:/etc`] },
    { destination: '/shared', type: 'tmpfs', source: 'tmpfs', options: ['shared'] },
  ];
  const bundle = oci.bundle(
    ['sh', '-c', 'cat /proc/self/mountinfo; stat -c "%n %a" /copied /copied/full /mode /made /over/passwd'],
    withMounts([...mounts, { destination: '/made/by/mount', type: 'tmpfs' }]),
  );
  const root = join(bundle, 'rootfs');
  mkdirSync(join(root, 'copied/full'), { recursive: true });
  chmodSync(join(root, 'copied'), 0o710);
  chmodSync(join(root, 'copied/full'), 0o777);
  symlinkSync('/far', join(root, 'link'));
  const { code, stdout, stderr } = await oci.command('run', '-b', bundle, 'm');
  assert.equal(code, 0, stderr);
  assert.match(stderr, /level=warning.*relative destination path is \*\*deprecated\*\*/);
  const there = mountsOf(stdout);
  const has = (place: string, ...wanted: string[]) => {
    const options = there.get(place)?.options;
    assert.deepEqual(
      wanted.filter((word) => !options?.includes(word)),
      [],
      `${place}: ${options?.join()}`,
    );
  };
  has('/bind', 'ro', 'nosuid');
  has('/bind/sub', 'rw');
  has('/recursive', 'ro', 'noexec', 'noatime');
  has('/recursive/sub', 'ro', 'noexec', 'noatime');
  has('/flat', 'nosymfollow');
  assert.equal(there.has('/flat/sub'), false);
  has('/relative', 'rw');
  has('/far/behind', 'rw');
  has('/again', 'ro', 'noexec');
  assert.ok(there.get('/mode')?.data.includes('size=64k'));
  assert.ok(there.get('/copied')?.data.includes('mode=710'), 'the mode of what it hides');
  has('/copied', 'ro');
  assert.match(stdout, / \/shared .* shared:\d+ - tmpfs/);
  for (const line of ['/copied 710', '/copied/full 777', '/mode 1500', '/made 755', '/over/passwd 644'])
    assert.ok(stdout.split('\n').includes(line), line);
  assert.equal(statSync(join(root, 'made/by/mount')).mode & 0o7777, 0o755);
  assert.ok(statSync(join(root, 'far/behind')).isFile(), 'made where the link points, inside the root');
  execFileSync('umount', [join(tree, 'sub')]);
});

test('in a user namespace: sources that its users cannot reach, and mapped IDs', { skip }, async () => {
  await using oci = new Oci();
  chmodSync(oci.directory, 0o755);
  const hidden = join(oci.directory, 'hidden');
  const source = join(hidden, 'source');
  mkdirSync(join(source, 'sub'), { recursive: true });
  writeFileSync(join(source, 'file'), '');
  chownSync(join(source, 'file'), 5, 6);
  chmodSync(hidden, 0o700);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'uid=7,gid=8', 'sub', join(source, 'sub')]);
  const user: Linux = { uidMappings: mapped, gidMappings: mapped };
  const shift = { uidMappings: [{ containerID: 5, hostID: 100_050, size: 5 }], gidMappings: mapped };
  const bundle = oci.bundle(
    ['sh', '-c', 'stat -c "%n %u:%g" /plain/file /own/file /own/sub /tree/sub /moved/file /later/file'],
    (spec) =>
      withMounts(
        [
          { destination: '/plain', source, options: ['rbind'] },
          { destination: '/own', source, options: ['rbind', 'idmap'] },
          { destination: '/tree', source, options: ['rbind', 'ridmap', 'ro'] },
          { destination: '/moved', source, options: ['rbind'], ...shift },
          // What an earlier mount has brought.
          { destination: '/later', source: join(oci.directory, 'bundle1/rootfs/own'), options: ['rbind'] },
        ],
        { ...user, namespaces: [...(spec.linux?.namespaces ?? []), { type: 'user' }] },
      )(spec),
  );
  execFileSync('chown', ['-R', '100000:100000', join(bundle, 'rootfs')]);
  const { code, stdout, stderr } = await oci.command('run', '-b', bundle, 'm');
  execFileSync('umount', [join(source, 'sub')]);
  assert.equal(code, 0, stderr);
  assert.deepEqual(stdout.trim().split('\n'), [
    '/plain/file 65534:65534',
    '/own/file 5:6',
    '/own/sub 65534:65534',
    '/tree/sub 7:8',
    '/moved/file 50:6',
    '/later/file 5:6',
  ]);
});

test('what must not be mounted is refused, and nothing is left', { skip }, async () => {
  await using oci = new Oci();
  const refused = async (mount: Mount, words: RegExp, prepare: (root: string) => void = () => {}) => {
    const bundle = oci.bundle(['true'], withMounts([mount]));
    prepare(join(bundle, 'rootfs'));
    const { code, stderr } = await oci.command('run', '-b', bundle, 'r');
    assert.equal(code, 1, JSON.stringify(mount));
    assert.match(stderr, words);
    assert.match((await oci.command('state', 'r')).stderr, /container does not exist/);
  };
  await refused({ destination: '/proc/sys/kernel', type: 'tmpfs' }, /cannot be mounted because it is inside \/proc/);
  await refused({ destination: '/proc', type: 'tmpfs' }, /not of type proc/);
  await refused({ destination: '/x/attr', type: 'tmpfs' }, /inside \/proc/, (root) =>
    symlinkSync('/proc/1', join(root, 'x')),
  );
  await refused(
    { destination: '/x', type: 'tmpfs', options: ['sizze=1k'] },
    /mounting tmpfs on \/x: .*sizze=1k: fsconfig: EINVAL/,
  );
  await refused({ destination: '/x', source: '/no/such', options: ['bind'] }, /mounting .*\/x: open_tree: ENOENT/);
});

test('a bind mount on / is the root, and one on /dev stays as it is', { skip }, async () => {
  await using oci = new Oci();
  const dev = join(oci.directory, 'dev');
  mkdirSync(dev);
  writeFileSync(join(dev, 'mark'), '');
  const bundle = oci.bundle(['ls', '/', '/dev'], (spec) => ({
    ...spec,
    root: { ...spec.root, readonly: false },
    mounts: [
      { destination: '/', source: join(oci.directory, 'bundle2/rootfs'), options: ['rbind'] },
      { destination: '/proc', type: 'proc' },
      { destination: '/dev', source: dev, options: ['bind'] },
    ],
  }));
  const other = join(oci.bundle(['true']), 'rootfs');
  mkdirSync(join(other, 'marked'));
  const { code, stdout, stderr } = await oci.command('run', '-b', bundle, 'm');
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^marked$/m);
  assert.match(stdout, /\/dev:\nmark\n$/);
});

test('without a mount namespace it runs in a chroot', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['sh', '-c', 'ls /bin/busybox; cat /proc/self/mountinfo'], (spec) => ({
    ...spec,
    linux: {
      ...spec.linux,
      maskedPaths: [],
      readonlyPaths: [],
      namespaces: (spec.linux?.namespaces ?? []).filter((n) => n.type !== 'mount'),
    },
  }));
  const { code, stdout, stderr } = await oci.command('run', '-b', bundle, 'm');
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^\/bin\/busybox\n/);
  assert.match(
    readFileSync('/proc/self/mountinfo', 'utf8'),
    new RegExp(` ${join(bundle, 'rootfs')}/proc `),
    'as with runc',
  );
  execFileSync('umount', ['-R', '-l', join(bundle, 'rootfs')]);
});

test('mounts come into a running container and go again', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['sleep', '100'], withMounts([{ destination: '/place', type: 'tmpfs' }]));
  assert.equal((await oci.command('run', '-d', '-b', bundle, 'm')).code, 0);
  writeFileSync(join(oci.directory, 'mark'), 'marked');
  const file = join(oci.directory, 'mounts.json');
  const list: Mount[] = [
    { destination: '/place/bound', source: oci.directory, options: ['bind', 'ro'] },
    { destination: '/place/new', type: 'tmpfs', options: ['size=64k'] },
  ];
  writeFileSync(file, JSON.stringify(list));
  const inside = async () => mountsOf((await oci.command('exec', 'm', 'cat', '/proc/self/mountinfo')).stdout);
  const added = await oci.command('mounts', 'add', 'm', file);
  assert.equal(added.code, 0, added.stderr);
  assert.equal((await oci.command('exec', 'm', 'cat', '/place/bound/mark')).stdout, 'marked');
  assert.ok((await inside()).get('/place/bound')?.options.includes('ro'));
  assert.equal((await inside()).get('/place/new')?.type, 'tmpfs');
  assert.equal((await oci.command('mounts', 'remove', 'm', file)).code, 0);
  assert.equal((await inside()).has('/place/bound'), false);
  assert.match((await oci.command('mounts', 'remove', 'm', file)).stderr, /unmounting \/place\/new: umount2: EINVAL/);
});

test('a root that is a slave receives mounts of the host, others do not', { skip }, async () => {
  await using oci = new Oci();
  execFileSync('mount', ['--bind', oci.directory, oci.directory]);
  execFileSync('mount', ['--make-shared', oci.directory]);
  const seen = async (propagation: 'rslave' | 'slave' | undefined, id: string): Promise<boolean> => {
    const bundle = oci.bundle(['sleep', '100'], (spec) => ({
      ...withMounts([])(spec),
      linux: { ...spec.linux, ...(propagation && { rootfsPropagation: propagation }) },
    }));
    assert.equal((await oci.command('run', '-d', '-b', bundle, id)).code, 0);
    const late = join(bundle, 'rootfs/tmp');
    execFileSync('mount', ['-t', 'tmpfs', 'late', late]);
    const { stdout } = await oci.command('exec', id, 'cat', '/proc/self/mountinfo');
    await oci.command('delete', '-f', id);
    execFileSync('umount', [late]);
    return mountsOf(stdout).has('/tmp');
  };
  assert.equal(await seen('slave', 'a'), true);
  assert.equal(await seen('rslave', 'b'), true);
  assert.equal(await seen(undefined, 'c'), false);
  assert.doesNotMatch(
    readFileSync('/proc/self/mountinfo', 'utf8'),
    new RegExp(` ${oci.directory}/bundle.*/rootfs/proc `),
  );
  execFileSync('umount', ['-l', oci.directory]);
});
