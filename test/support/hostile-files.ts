/** What hostile images and volumes are made of, and what shows whether they came through. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Contents, links, and directories (`null`) by path. */
export type HostileFiles = Readonly<Record<string, string | { readonly link: string } | null>>;

/** Puts them below `root`, in the place of what is there. */
export function placeFiles(root: string, files: HostileFiles): void {
  for (const [path, content] of Object.entries(files)) {
    const at = join(root, path);
    rmSync(at, { recursive: true, force: true });
    mkdirSync(join(at, '..'), { recursive: true });
    if (content === null) mkdirSync(at);
    else if (typeof content === 'string') writeFileSync(at, content);
    else symlinkSync(content.link, at);
  }
}

/** A directory of the host that no container is given. */
export interface Outside {
  readonly path: string;
  /** Throws when something was made, changed or mounted in it. */
  untouched(): void;
}

export function outsideOf(scratch: string): Outside {
  const path = join(scratch, 'outside');
  const file = join(path, 'file');
  mkdirSync(path);
  writeFileSync(file, 'the host’s', { mode: 0o600 });
  return {
    path,
    untouched() {
      assert.deepEqual(readdirSync(path), ['file']);
      assert.equal(readFileSync(file, 'utf8'), 'the host’s');
      assert.equal(statSync(file).mode & 0o7777, 0o600);
      assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${path}`), 'nothing is mounted there');
    },
  };
}
