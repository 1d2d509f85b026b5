/** The machine's two disks: the system, cached, and what is to be tested, made anew each time. */
import { chmod, chown, copyFile, cp, mkdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { build } from 'esbuild';
import type { Kernel } from './kernel.ts';
import { cache, checkout, output } from './parts.ts';

const baseVersion = 2;

/** busybox, Node, the kernel's modules, newuidmap, ip, nft, and a user `mate` with subordinate ids: an ext4 image. */
export async function systemDisk(kernel: Kernel): Promise<string> {
  const disk = join(cache, `system-${baseVersion}-${kernel.release}-node-${process.version}.ext4`);
  if (await exists(disk)) return disk;
  const tree = join(cache, 'system');
  await rm(tree, { recursive: true, force: true });
  const folders = ['bin', 'dev', 'etc', 'home/mate', 'keelson', 'lib/modules', 'lib64', 'proc', 'root', 'run', 'sbin'];
  for (const folder of [...folders, 'sys', 'tmp', 'usr/bin', 'var/lib']) {
    await mkdir(join(tree, folder), { recursive: true });
  }
  await copyFile('/bin/busybox', join(tree, 'bin/busybox'));
  for (const applet of (await output('busybox', ['--list'])).trim().split('\n')) {
    if (applet !== 'busybox') await symlink('/bin/busybox', join(tree, 'bin', applet));
  }
  await symlink('/bin/busybox', join(tree, 'sbin/modprobe'));
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
    passwd: 'root:x:0:0:root:/root:/bin/sh\nmate:x:1000:1000::/home/mate:/bin/sh\n',
    group: 'root:x:0:\nmate:x:1000:\n',
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
  await cp(join(checkout, 'bin'), join(tree, 'bin'), { recursive: true });
  await cp(join(checkout, 'dist'), join(tree, 'dist'), { recursive: true });
  await copyFile(join(checkout, 'native/build/keel'), join(tree, 'native/build/keel'));
  await copyFile(join(checkout, 'package.json'), join(tree, 'package.json'));
  await copyFile(join(import.meta.dirname, 'guest/init'), join(tree, 'init'));
  await chmod(join(tree, 'init'), 0o755);
  if (command !== undefined) await writeFile(join(tree, 'command'), command);
  // One file each, so that the guest, where Node is slow, neither resolves nor strips anything.
  for (const name of ['tests', 'reporter']) {
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
