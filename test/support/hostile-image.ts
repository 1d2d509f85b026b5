import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerDefaults } from '../../src/spec/image.ts';
import { type HostileFiles, placeFiles } from './hostile-files.ts';
import type { OpenEngine } from './open-engine.ts';

export interface HostileImage {
  readonly config?: ContainerDefaults;
  /** Files and links in it, beside a busybox. */
  readonly files?: HostileFiles;
}

/** Makes the image `hostile`, as a hostile registry would serve it: `files` take the place of what it would have there. */
export async function image(e: OpenEngine, { config = {}, files = {} }: HostileImage): Promise<string> {
  const root = join(e.scratch, 'image');
  for (const directory of ['bin', 'etc', 'proc', 'sys', 'dev', 'tmp'])
    mkdirSync(join(root, directory), { recursive: true });
  copyFileSync('/usr/bin/busybox', join(root, 'bin/busybox'));
  for (const applet of ['sh', 'cat', 'id', 'ls', 'env', 'sleep', 'echo'])
    symlinkSync('busybox', join(root, 'bin', applet));
  placeFiles(root, files);
  const tar = execFileSync('tar', ['cf', '-', '-C', root, '.'], { maxBuffer: 64 << 20 });
  return e.engine.images.create(e.context, {
    layer: (async function* () {
      yield tar;
    })(),
    defaults: () => ({ Env: ['PATH=/bin'], Cmd: ['/bin/sh'], ...config }),
    history: {},
    names: ['docker.io/library/hostile:latest'],
    doing: 'making an image',
  });
}
