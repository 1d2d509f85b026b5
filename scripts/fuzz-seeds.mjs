// Seeds of the fuzzers of archives: small trees, packed by GNU tar in all its formats.
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const formats = [
  ['--format=v7'],
  ['--format=ustar'],
  ['--format=oldgnu', '--sparse'],
  ['--format=gnu', '--sparse', '--label=volume'],
  ['--format=pax', '--xattrs', '--xattrs-include=*'],
  ['--format=pax', '--sparse', '--sparse-version=1.0'],
  ['--format=pax', '--sparse', '--sparse-version=0.1'],
  ['--format=pax', '--sparse', '--sparse-version=0.0'],
  ['--format=pax', '--pax-option=globexthdr.name=g,comment=x,gid=7'],
];

function growTree(top) {
  const long = join(top, 'directory-'.repeat(9), 'x'.repeat(60));
  mkdirSync(long, { recursive: true });
  for (const name of ['file', '.wh.gone', '.wh..wh..opq']) writeFileSync(join(top, name), name);
  writeFileSync(join(long, 'deep'), 'content of a file'.repeat(20));
  writeFileSync(join(top, 'sparse'), 'x');
  truncateSync(join(top, 'sparse'), 1 << 20);
  linkSync(join(top, 'file'), join(top, 'hard'));
  symlinkSync('directory-'.repeat(9), join(top, 'link'));
  symlinkSync('../outside', join(top, 'out'));
  execFileSync('mkfifo', [join(top, 'fifo')]);
}

/** The archives. GNU tar leaves out what a format can't say. */
function archives() {
  const top = mkdtempSync(join(tmpdir(), 'keelson-seeds-'));
  try {
    growTree(top);
    const all = formats.map((options) => {
      const words = ['-C', top, '--owner=0', '--group=0', '--mtime=@1', ...options, '-b', '1', '-cf', '-', '.'];
      try {
        return execFileSync('tar', words, { stdio: ['ignore', 'pipe', 'ignore'] });
      } catch (error) {
        return error.stdout;
      }
    });
    // And two with what no tar writes: entries through a link, and a name that leaves.
    const plain = (name) => ['-C', top, '--format=ustar', '-b', '1', '-cf', '-', '--transform', name, 'file'];
    const through = execFileSync('tar', plain('s,file,link/new,'));
    const leaving = execFileSync('tar', ['-P', ...plain('s,file,../outside/new,')]);
    return [...all, Buffer.concat([all[1].subarray(0, -1024), through.subarray(0, -1024), leaving])];
  } finally {
    rmSync(top, { recursive: true });
  }
}

/** Writes the seeds of the fuzzer `name` into `directory`; nothing for those that have none. */
export function writeSeeds(name, directory) {
  if (name !== 'tar' && name !== 'unpack') return;
  archives().forEach((archive, i) => {
    for (const first of name === 'tar' ? [2] : [1, 2, 0x28]) {
      writeFileSync(join(directory, `seed-${i}-${first}`), Buffer.concat([Buffer.from([first]), archive]));
    }
  });
}
