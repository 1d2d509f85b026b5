/** The first file system: enough to find the disks and to go on from there. */
import { readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Kernel } from './kernel.ts';

/** Modules without which there is no disk, and what they need. ext4 is built into the kernel. */
const firstModules = ['virtio_pci', 'virtio_blk'];

const init = (modules: readonly string[]) => `#!/bin/busybox sh
${modules.map((name) => `/bin/busybox insmod /${name}`).join('\n')}
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t ext4 /dev/vda /root || exec /bin/busybox poweroff -f
/bin/busybox mount -t ext4 -o ro /dev/vdb /root/keelson
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root \${machine_init:-/keelson/init}
`;

export async function writeInitramfs(kernel: Kernel, path: string): Promise<void> {
  const modules = await withDependencies(kernel, firstModules);
  const archive = new CpioArchive();
  for (const directory of ['bin', 'dev', 'root']) archive.add(directory, 0o040755);
  archive.add('bin/busybox', 0o100755, await readFile('/bin/busybox'));
  for (const module of modules) archive.add(basename(module), 0o100644, await readFile(module));
  archive.add('init', 0o100755, Buffer.from(init(modules.map((module) => basename(module)))));
  await writeFile(path, archive.bytes());
}

/** Paths of the modules in the order in which they can be inserted, from modules.dep(5). */
async function withDependencies(kernel: Kernel, names: readonly string[]): Promise<string[]> {
  const base = join(kernel.tree, 'lib/modules', kernel.release);
  const lines = (await readFile(join(base, 'modules.dep'), 'utf8')).trim().split('\n');
  const ordered = new Set<string>();
  const visit = (path: string): void => {
    const line = lines.find((candidate) => candidate.startsWith(`${path}:`)) ?? '';
    for (const needed of line.slice(path.length + 1).split(' ')) if (needed && !ordered.has(needed)) visit(needed);
    ordered.add(path);
  };
  for (const name of names) {
    const path = lines.map((line) => line.split(':')[0] ?? '').find((candidate) => basename(candidate, '.ko') === name);
    if (!path) throw new Error(`the kernel ${kernel.release} has no module ${name}`);
    visit(path);
  }
  return [...ordered].map((path) => join(base, path));
}

/** The "newc" format of cpio, as the kernel's Documentation/driver-api/early-userspace/buffer-format.rst describes it. */
class CpioArchive {
  readonly #parts: Buffer[] = [];
  #entries = 0;

  add(name: string, mode: number, content: Buffer = Buffer.alloc(0)): void {
    this.#entries += 1;
    const fields = [this.#entries, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length + 1, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`;
    this.#parts.push(padded(Buffer.from(header)), padded(content));
  }

  bytes(): Buffer {
    this.add('TRAILER!!!', 0);
    return Buffer.concat(this.#parts);
  }
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
