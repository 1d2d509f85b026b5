import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cache, output } from './parts.ts';

export interface Kernel {
  /** As `uname -r` prints it. */
  readonly release: string;
  readonly image: string;
  /** Holds lib/modules/<release>, with modules.dep. */
  readonly tree: string;
}

/** Debian's kernel for virtual machines, unpacked into the cache: downloaded once per version. */
export async function debianKernel(): Promise<Kernel> {
  const depends = await output('apt-cache', ['depends', 'linux-image-cloud-amd64']);
  const packageName = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (!packageName) throw new Error(`linux-image-cloud-amd64 depends on no kernel: ${depends}`);
  const release = packageName.slice('linux-image-'.length);
  const tree = join(cache, packageName);
  const kernel = { release, image: join(tree, `boot/vmlinuz-${release}`), tree };
  await mkdir(cache, { recursive: true });
  if ((await readdir(cache)).includes(packageName)) return kernel;

  const fresh = await mkdtemp(join(cache, 'kernel-'));
  await output('apt-get', ['download', '-q', packageName], fresh);
  const [archive] = await readdir(fresh);
  if (!archive) throw new Error(`apt-get download ${packageName} left no file`);
  await output('dpkg-deb', ['-x', join(fresh, archive), fresh]);
  await rm(join(fresh, archive));
  await output('busybox', ['depmod', '-b', fresh, release]);
  await rename(fresh, tree);
  return kernel;
}
