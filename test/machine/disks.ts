/** The machine's two disks: the system, cached, and what is to be tested, made anew each time. */
import { chmod, chown, copyFile, cp, mkdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { build } from 'esbuild';
import type { Kernel } from './kernel.ts';
import { unpackPackages } from './packages.ts';
import { cache, checkout, output } from './parts.ts';

const baseVersion = 3;

/**
 * busybox, Node, the kernel's modules, newuidmap, ip, nft, systemd with D-Bus, and a user `mate` with subordinate ids: an ext4 image.
 * systemd's units are those of the checkout's disk.
 */
export async function systemDisk(kernel: Kernel): Promise<string> {
  const disk = join(cache, `system-${baseVersion}-${kernel.release}-node-${process.version}.ext4`);
  if (await exists(disk)) return disk;
  const tree = join(cache, 'system');
  await rm(tree, { recursive: true, force: true });
  await mkdir(tree);
  await unpackPackages(['systemd', 'dbus-daemon', 'dbus-system-bus-common'], tree);
  const folders = ['bin', 'dev', 'etc', 'home/mate', 'keelson', 'lib/modules', 'lib64', 'proc', 'root', 'run', 'sbin'];
  for (const folder of [...folders, 'sys', 'tmp', 'usr/bin', 'var/lib']) {
    await mkdir(join(tree, folder), { recursive: true });
  }
  await copyFile('/bin/busybox', join(tree, 'bin/busybox'));
  for (const applet of (await output('busybox', ['--list'])).trim().split('\n')) {
    const link = join(tree, 'bin', applet);
    if (applet !== 'busybox' && !(await exists(link))) await symlink('/bin/busybox', link);
  }
  await symlink('/bin/busybox', join(tree, 'sbin/modprobe'));
  await rm(join(tree, 'etc/systemd/system'), { recursive: true });
  await symlink('/keelson/units', join(tree, 'etc/systemd/system'));
  // ip and nft are the leak check's.
  const programs = ['/usr/bin/newuidmap', '/usr/bin/newgidmap', '/usr/sbin/ip', '/usr/sbin/nft'];
  for (const program of [process.execPath, ...programs]) {
    const name = program === process.execPath ? 'node' : basename(program);
    await copyFile(program, join(tree, 'usr/bin', name));
    for (const library of await librariesOf(program)) {
      await mkdir(dirname(join(tree, library)), { recursive: true });
      await copyFile(library, join(tree, library));
    }
  }
  for (const name of ['newuidmap', 'newgidmap']) {
    await chown(join(tree, 'usr/bin', name), 0, 0);
    await chmod(join(tree, 'usr/bin', name), 0o4755);
  }
  await cp(join(kernel.tree, 'lib/modules'), join(tree, 'lib/modules'), { recursive: true });
  const files = {
    passwd: 'root:x:0:0:root:/root:/bin/sh\nmate:x:1000:1000::/home/mate:/bin/sh\nmessagebus:x:100:100::/:/bin/false\n',
    group: 'root:x:0:\nmate:x:1000:\nmessagebus:x:100:\n',
    'machine-id': '0123456789abcdef0123456789abcdef\n',
    subuid: 'mate:100000:65536\n',
    subgid: 'mate:100000:65536\n',
    hosts: '127.0.0.1 localhost\n',
    'resolv.conf': 'nameserver 127.0.0.1\n',
    'os-release': 'ID=keelson-test\nPRETTY_NAME="Keelson test machine"\n',
  };
  for (const [name, content] of Object.entries(files)) await writeFile(join(tree, 'etc', name), content);
  await chown(join(tree, 'home/mate'), 1000, 1000);
  await chmod(join(tree, 'tmp'), 0o1777);
  await makeExt4(tree, disk, 1536);
  await rm(tree, { recursive: true });
  return disk;
}

/** bin/, dist/ and keel of this checkout, and the tests, or the command, for inside: an ext4 image. */
export async function checkoutDisk(disk: string, command?: string): Promise<void> {
  const tree = `${disk}.d`;
  await rm(tree, { recursive: true, force: true });
  await mkdir(join(tree, 'native/build'), { recursive: true });
  await cp(join(checkout, 'bin'), join(tree, 'bin'), { recursive: true, verbatimSymlinks: true });
  await cp(join(checkout, 'dist'), join(tree, 'dist'), { recursive: true });
  await copyFile(join(checkout, 'native/build/keel'), join(tree, 'native/build/keel'));
  await copyFile(join(checkout, 'package.json'), join(tree, 'package.json'));
  await copyFile(join(import.meta.dirname, 'guest/init'), join(tree, 'init'));
  await chmod(join(tree, 'init'), 0o755);
  await cp(join(import.meta.dirname, 'guest/units'), join(tree, 'units'), { recursive: true });
  if (command !== undefined) await writeFile(join(tree, 'command'), command);
  // One file each, so that the guest, where Node is slow, neither resolves nor strips anything.
  for (const name of ['tests', 'systemd-tests', 'reporter']) {
    await build({
      entryPoints: [join(import.meta.dirname, `guest/${name}.ts`)],
      outfile: join(tree, `${name}.mjs`),
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node24',
      logLevel: 'warning',
      banner: {
        js: 'import { createRequire as $require } from "node:module"; const require = $require(import.meta.url);',
      },
    });
  }
  await makeExt4(tree, disk, 128);
  await rm(tree, { recursive: true });
}

async function makeExt4(tree: string, disk: string, megabytes: number): Promise<void> {
  const fresh = `${disk}.new`;
  await rm(fresh, { force: true });
  await output('mke2fs', ['-q', '-t', 'ext4', '-m', '0', '-d', tree, fresh, `${megabytes}M`]);
  await rename(fresh, disk);
}

/** What ld.so would load, and ld.so. */
async function librariesOf(program: string): Promise<string[]> {
  const header = await readFile(program);
  if (!header.includes('ld-linux')) return [];
  const listing = await output('ldd', [program]);
  return [...listing.matchAll(/(?:=> )?(\/\S+) \(0x/g)].flatMap((match) => (match[1] ? [match[1]] : []));
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
