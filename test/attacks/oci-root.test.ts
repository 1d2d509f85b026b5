/** ATTACKS, section A, against keelson-oci itself: root file systems, links, mounts and devices that are to lead out of the container. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { LinuxDevice, Mount, Spec } from '../../src/spec/runtime.ts';
import { type HostileFiles, outsideOf, placeFiles } from '../support/hostile-files.ts';
import { Oci } from '../support/oci.ts';
import { swapping, toAndFro } from '../support/swapping.ts';

const bind = (source: string, destination: string, ...options: string[]): Mount => ({
  destination,
  source,
  type: 'bind',
  options: ['rbind', ...options],
});
const tmpfs = (destination: string): Mount => ({ destination, type: 'tmpfs', source: 'tmpfs' });
const zero = (path: string): LinuxDevice => ({ path, type: 'c', major: 1, minor: 5 });

const mounts =
  (...more: Mount[]) =>
  (spec: Spec) => ({ ...spec, mounts: [...(spec.mounts ?? []), ...more] });
const without =
  (...destinations: string[]) =>
  (spec: Spec) => ({ ...spec, mounts: spec.mounts?.filter((m) => !destinations.includes(m.destination)) ?? [] });
const writable = (spec: Spec) => ({ ...spec, root: { path: 'rootfs', readonly: false } });
const all =
  (...changes: ((spec: Spec) => Spec)[]) =>
  (spec: Spec) =>
    changes.reduce((changed, change) => change(changed), spec);

const shell = (script: string) => ['sh', '-c', script];
const mountInfo = () => readFileSync('/proc/self/mountinfo', 'utf8');
const corePattern = '/proc/sys/kernel/core_pattern';

describe('a link of the root file system', () => {
  for (const name of ['proc', 'sys', 'dev']) {
    test(`2019-16884, 2019-19921, 2023-27561, 2023-28642: in the place of /${name} is refused`, async () => {
      await using oci = new Oci();
      const host = outsideOf(oci.directory);
      for (const link of [host.path, `../../../../../../../../..${host.path}`, '/fake']) {
        const files: HostileFiles = { [name]: { link }, 'fake/self/attr/exec': '', 'fake/kcore': '' };
        const { code, stderr } = await oci.command('run', '-b', oci.bundle(['true'], writable, files), name);
        assert.equal(code, 1);
        assert.match(stderr, new RegExp(`/${name}`));
        host.untouched();
      }
    });
  }

  test('runc 2026-41579, crun 2026-47766: in the place of a /dev that nothing is mounted on gets no nodes', async () => {
    await using oci = new Oci();
    const host = outsideOf(oci.directory);
    const noDev = without('/dev', '/dev/pts', '/dev/shm', '/dev/mqueue');
    for (const files of [{ dev: { link: host.path } }, { dev: null, 'dev/null': { link: join(host.path, 'null') } }]) {
      await oci.command('run', '-b', oci.bundle(['true'], all(noDev, writable), files), 'dev');
      host.untouched();
    }
  });

  test('in the place of the directory that a device is to be in gets no node', async () => {
    await using oci = new Oci();
    const host = outsideOf(oci.directory);
    const devices = (spec: Spec) => ({
      ...spec,
      linux: { ...spec.linux, devices: [zero('/data/zero'), zero('/data/new/zero')] },
    });
    const bundle = oci.bundle(['true'], all(devices, writable), { data: { link: host.path } });
    await oci.command('run', '-b', bundle, 'devices');
    host.untouched();
  });

  test('crun 2025-24965: on the way to a mount point leads nowhere on the host', async () => {
    await using oci = new Oci();
    const host = outsideOf(oci.directory);
    const data = join(oci.directory, 'data');
    placeFiles(data, { file: 'data' });
    for (const link of [host.path, `../../../../../../../../..${host.path}`, '/proc/1/root']) {
      for (const mount of [
        bind(data, '/link/new/deeper'),
        bind(join(data, 'file'), '/link/file'),
        bind(join(data, 'file'), '/link/new-file'),
        tmpfs('/link/tmpfs'),
        { ...tmpfs('/link'), options: ['tmpcopyup'] },
        { destination: '/link/mqueue', type: 'mqueue', source: 'mqueue' },
      ]) {
        const bundle = oci.bundle(
          shell(`echo x > ${mount.destination}/x; echo x > ${mount.destination}`),
          all(mounts(mount), writable),
          { link: { link } },
        );
        await oci.command('run', '-b', bundle, 'link');
        host.untouched();
      }
    }
    assert.equal(readFileSync('/etc/hostname', 'utf8').includes('x\n'), false);
  });

  test('2025-31133: in the place of /dev/null does not open what is masked, nor what it points to', async () => {
    await using oci = new Oci();
    const pattern = readFileSync(corePattern, 'utf8');
    const host = outsideOf(oci.directory);
    const dev = join(oci.directory, 'dev');
    const links = Object.fromEntries(
      ['null', 'console', 'ptmx', 'tty'].map((name) => [name, { link: corePattern }] as const),
    );
    placeFiles(dev, { ...links, pts: null, shm: null, mqueue: null });
    const masked = (spec: Spec) => ({ ...spec, linux: { ...spec.linux, maskedPaths: ['/proc/kcore', '/proc/keys'] } });
    const script = shell('head -c 5 /proc/kcore; cat /proc/keys; echo "|x" > /proc/kcore; echo done');
    const bundles = [
      oci.bundle(script, all(masked, without('/dev/pts'), mounts(bind(dev, '/dev')))),
      oci.bundle(script, all(masked, without('/dev', '/dev/pts', '/dev/shm', '/dev/mqueue'), writable), {
        'dev/null': { link: corePattern },
      }),
      oci.bundle(script, all(masked, without('/dev', '/dev/pts', '/dev/shm', '/dev/mqueue'), writable), {
        'dev/null': { link: join(host.path, 'file') },
      }),
    ];
    for (const bundle of bundles) {
      const { stdout } = await oci.command('run', '-b', bundle, 'null');
      assert.ok(stdout === 'done\n' || stdout === '', stdout);
      assert.equal(readFileSync(corePattern, 'utf8'), pattern);
      host.untouched();
    }
  });

  test('2025-52565: in the place of /dev/console or the terminal’s own file is not what the terminal is mounted on', async () => {
    await using oci = new Oci();
    const pattern = readFileSync(corePattern, 'utf8');
    const host = outsideOf(oci.directory);
    const tty = (spec: Spec) => ({
      ...spec,
      ...(spec.process && { process: { ...spec.process, terminal: true } }),
    });
    const script = shell('echo "|x" > /dev/console; echo "|x" > /dev/pts/ptmx; echo done');
    for (const link of [corePattern, join(host.path, 'file'), join(host.path, 'new')]) {
      const noDev = without('/dev', '/dev/shm', '/dev/mqueue');
      const noPts = without('/dev', '/dev/pts', '/dev/shm', '/dev/mqueue');
      for (const bundle of [
        oci.bundle(script, all(tty, noDev, writable), { 'dev/console': { link } }),
        oci.bundle(script, all(tty, noPts, writable), { 'dev/pts/ptmx': { link }, 'dev/console': { link } }),
      ]) {
        await oci.command('run', '-b', bundle, 'console');
        assert.equal(readFileSync(corePattern, 'utf8'), pattern);
        host.untouched();
      }
    }
  });
});

describe('a volume', () => {
  test('2019-19921, 2025-52881: over /proc or in it is refused, as by runc', async () => {
    await using oci = new Oci();
    const data = join(oci.directory, 'data');
    placeFiles(data, { 'attr/exec': '', 'attr/apparmor/exec': '', kcore: 'made up' });
    for (const mount of [
      bind(data, '/proc'),
      bind(data, '/proc/self'),
      bind(join(data, 'attr'), '/proc/1/attr'),
      bind(join(data, 'kcore'), '/proc/sys/kernel/core_pattern'),
      tmpfs('/proc/sys'),
      tmpfs('/link'),
      bind(data, '/link/fs'),
    ]) {
      const bundle = oci.bundle(['true'], mounts(mount), { link: { link: '/proc/sys' } });
      const { code, stderr } = await oci.command('run', '-b', bundle, 'proc');
      assert.equal(code, 1, JSON.stringify(mount));
      assert.match(stderr, /cannot be mounted because it is (inside \/proc|not of type proc)/);
    }
    const allowed = oci.bundle(['cat', '/proc/uptime'], mounts(bind(join(data, 'kcore'), '/proc/uptime')));
    assert.equal((await oci.command('run', '-b', allowed, 'lxcfs')).stdout, 'made up', 'as lxcfs does');
  });

  test('2025-52881: or links in the place of /proc don’t see what is written to a sysctl', async () => {
    await using oci = new Oci();
    const host = outsideOf(oci.directory);
    const sysctl = (spec: Spec) => ({ ...spec, linux: { ...spec.linux, sysctl: { 'net.ipv4.ip_forward': '1' } } });
    const before = readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8');
    const value = ['cat', '/mnt/sys/net/ipv4/ip_forward'];
    for (const files of [
      { 'proc/sys/net/ipv4/ip_forward': { link: join(host.path, 'file') } },
      { proc: { link: host.path } },
      { 'proc/sys/net/ipv4/ip_forward': 'fake' },
    ]) {
      const proc = { destination: '/mnt', type: 'proc', source: 'proc' };
      const bundle = oci.bundle(value, all(without('/proc'), mounts(proc), sysctl, writable), files);
      assert.equal((await oci.command('run', '-b', bundle, 'sysctl')).stdout, '1\n');
      host.untouched();
      assert.equal(readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8'), before);
    }
  });

  test('over /dev gets no nodes and no links', async () => {
    await using oci = new Oci();
    const dev = join(oci.directory, 'dev');
    for (const name of ['pts', 'shm', 'mqueue']) mkdirSync(join(dev, name), { recursive: true });
    const bundle = oci.bundle(['ls', '/dev'], all(without('/dev'), mounts(bind(dev, '/dev'))));
    // After the volume, as callers have it.
    const { stdout } = await oci.command('run', '-b', bundle, 'dev');
    assert.doesNotMatch(stdout, /null|core|fd/);
    assert.deepEqual(readdirSync(dev).toSorted(), ['mqueue', 'pts', 'shm']);
  });

  test('2021-30465, 2024-45310: in which a directory is swapped for a link while mount points are made in it', async () => {
    await using oci = new Oci();
    const host = outsideOf(oci.directory);
    const data = join(oci.directory, 'data');
    const shared = join(oci.directory, 'shared');
    placeFiles(data, { file: 'data' });
    placeFiles(shared, { dir: null, link: { link: host.path }, file: 'x', 'file-link': { link: `${host.path}/file` } });
    const hostMounts = mountInfo();
    await using _ = swapping(
      [join(shared, 'dir'), join(shared, 'link')],
      [join(shared, 'file'), join(shared, 'file-link')],
    );
    let ran = 0;
    for (let turn = 0, end = Date.now() + 7000; Date.now() < end; turn++) {
      const at = (name: string) => `/shared/dir/${name}${turn}`;
      const bundle = oci.bundle(
        shell(`echo x > /shared/dir/a${turn}; echo x > ${at('bind')}/x; echo x > ${at('file')}; true`),
        all(
          mounts(
            bind(shared, '/shared'),
            bind(data, at('bind')),
            bind(join(data, 'file'), at('file')),
            bind(join(data, 'file'), '/shared/file'),
            tmpfs(at('tmpfs/deep')),
          ),
          (spec) => ({
            ...spec,
            linux: {
              ...spec.linux,
              devices: [zero(at('zero'))],
              maskedPaths: [...(spec.linux?.maskedPaths ?? []), '/shared/dir', '/shared/file'],
              readonlyPaths: [...(spec.linux?.readonlyPaths ?? []), '/shared/dir'],
            },
          }),
        ),
      );
      ran += (await oci.command('run', '-b', bundle, `race${turn}`)).code === 0 ? 1 : 0;
      host.untouched();
      rmSync(bundle, { recursive: true });
    }
    assert.equal(mountInfo(), hostMounts);
    assert.ok(ran > 0, 'some containers ran');
  });

  test('in which a device’s node is swapped for a link between its making and its mode', async () => {
    await using oci = new Oci();
    const host = outsideOf(oci.directory);
    const shared = join(oci.directory, 'shared');
    placeFiles(shared, { link: { link: join(host.path, 'file') } });
    // The same again and again: the moment at which there is neither is short.
    const nodes = Array.from({ length: 300 }, () => zero('/shared/node'));
    const devices = (spec: Spec) => ({ ...spec, linux: { ...spec.linux, devices: nodes } });
    const bundle = oci.bundle(['true'], all(mounts(bind(shared, '/shared')), devices));
    await using _ = toAndFro([join(shared, 'link'), join(shared, 'node')]);
    for (const end = Date.now() + 5000; Date.now() < end; ) {
      await oci.command('run', '-b', bundle, 'node');
      host.untouched();
    }
  });
});

describe('mounts do not travel to the host', () => {
  test('whatever propagation the root has, and with --no-pivot', async () => {
    await using oci = new Oci();
    // The test's own mount namespace: as on a machine of systemd's, everything is shared.
    execFileSync('mount', ['--make-rshared', '/']);
    try {
      for (const flags of [[], ['--no-pivot']]) {
        for (const rootfsPropagation of [undefined, 'shared', 'rshared', 'slave', 'rprivate'] as const) {
          const bundle = oci.bundle(
            shell('mount -t tmpfs none /tmp; mount -t tmpfs none /data/in; umount /proc/sys; umount /sys; true'),
            all(mounts(bind(join(oci.directory, 'data'), '/data')), writable, (spec) => ({
              ...spec,
              linux: { ...spec.linux, ...(rootfsPropagation && { rootfsPropagation }) },
              ...(spec.process && {
                process: { ...spec.process, capabilities: Object.fromEntries(capabilitySets.map((s) => [s, admin])) },
              }),
            })),
          );
          mkdirSync(join(oci.directory, 'data/in'), { recursive: true });
          const before = mountInfo();
          const { code, stderr } = await oci.command('run', ...flags, '-b', bundle, 'travel');
          assert.equal(mountInfo(), before, `${flags.join('')} ${rootfsPropagation}: ${code} ${stderr}`);
          rmSync(bundle, { recursive: true });
        }
      }
    } finally {
      execFileSync('mount', ['--make-rprivate', '/']);
    }
  });
});

const capabilitySets = ['bounding', 'effective', 'permitted'];
const admin = ['CAP_SYS_ADMIN'];

test('2015-3629: a root file system that is used again meets the links that a container has made in it', async () => {
  await using oci = new Oci();
  const host = outsideOf(oci.directory);
  const names = ['proc', 'sys', 'dev', 'etc', 'tmp'];
  for (const name of names) {
    const bundle = oci.bundle(['true'], all(writable, mounts(tmpfs('/tmp/in'), tmpfs('/etc/in'))));
    const rootfs = join(bundle, 'rootfs');
    await oci.command('run', '-b', bundle, 'first');
    rmSync(join(rootfs, name), { recursive: true });
    symlinkSync(host.path, join(rootfs, name));
    await oci.command('run', '-b', bundle, 'second');
    host.untouched();
  }
});
