/** Trees packed by GNU tar and by Python come out of keel as they went in. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Keel } from '../../src/kernel/keel.ts';
import { archive, treeOf, Yard } from '../support/archive.ts';

/** Numbers that repeat: a failure names its seed. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Fills `top` with some 100 files of all kinds. `plain`: only what v7 and ustar can say. */
function growTree(top: string, seed: number, plain: boolean): void {
  const pick = random(seed);
  const directories = [''];
  const others: string[] = [];
  const regular: string[] = [];
  const later = { fifos: [] as string[], devices: [] as string[], attributes: [] as string[] };
  const letters = plain ? Array.from('abZ-_') : Array.from("abZ. ä€*'\\\n\u0001");
  for (let i = 0; i < 100; i++) {
    const length = !plain && pick(10) === 0 ? 60 : 1 + pick(12);
    const name = Array.from({ length }, () => letters[pick(letters.length)]).join('');
    const path = join(directories[pick(directories.length)] as string, `${name}${i}`);
    const full = join(top, path);
    const kind = pick(9);
    if (kind <= 1) {
      mkdirSync(full);
      directories.push(path);
      continue;
    }
    if (kind === 2) symlinkSync(`${'../'.repeat(pick(plain ? 5 : 60))}x`, full);
    else if (kind === 3 && regular.length > 0) {
      linkSync(join(top, regular[pick(regular.length)] as string), full);
      continue;
    } else if (kind === 4 && !plain) {
      if (pick(2)) later.fifos.push(full);
      else later.devices.push(full, 'c', String(pick(200)), String(pick(200)));
    } else if (kind === 5 && !plain) sparseFile(full, pick);
    else writeFileSync(full, Buffer.alloc([0, 1, 511, 512, 513, 100_000][pick(6)] as number, i));
    others.push(path);
    if (lstatSync(full, { throwIfNoEntry: false })?.isFile()) {
      regular.push(path);
      if (!plain && pick(3) === 0) later.attributes.push('-n', 'user.tag', '-v', `v${i}`, full);
    }
  }
  inBatches('mkfifo', 1, later.fifos);
  inBatches('mknod', 4, later.devices);
  inBatches('setfattr', 5, later.attributes);
  // Directories last, from the leaves up: making entries changes their times.
  for (const path of [...others, ...[...directories].sort().reverse()]) dress(join(top, path), pick, plain);
}

function inBatches(program: string, args: number, words: readonly string[]): void {
  if (words.length > 0) execFileSync('xargs', ['-0', `-n${args}`, program], { input: words.join('\0') });
}

function dress(full: string, pick: (below: number) => number, plain: boolean): void {
  lchownSync(full, !plain && pick(4) === 0 ? 3_000_000_000 + pick(1000) : pick(3000), pick(3000));
  const mode = [0o644, 0o755, 0o4711, 0o2750, 0o1777, 0o000][pick(6)] as number;
  if (!lstatSync(full).isSymbolicLink()) chmodSync(full, mode);
  const seconds = pick(2 ** 31) + (plain ? 0 : pick(1e6) / 1e6);
  lutimesSync(full, seconds, seconds);
}

function sparseFile(full: string, pick: (below: number) => number): void {
  const fd = openSync(full, 'w');
  for (let i = pick(8); i > 0; i--) writeSync(fd, Buffer.alloc(1 + pick(9000), i), 0, undefined, pick(40) * 65_536);
  ftruncateSync(fd, 40 * 65_536 + pick(100_000));
  closeSync(fd);
}

const python = `import sys, tarfile
formats = {'pax': tarfile.PAX_FORMAT, 'gnu': tarfile.GNU_FORMAT, 'ustar': tarfile.USTAR_FORMAT}
with tarfile.open(sys.argv[2], 'w', format=formats[sys.argv[1]]) as tar: tar.add(sys.argv[3], '.')`;

interface Packer {
  readonly name: string;
  readonly plain: boolean;
  /** What the format loses: compared without it. */
  readonly loses?: 'fractions' | 'fractions and attributes' | 'microseconds and attributes';
  pack(tree: string, file: string): void;
}

const gnu = (name: string, options: string[], plain: boolean, loses?: Packer['loses']): Packer => ({
  name: `GNU tar ${name}`,
  plain,
  ...(loses && { loses }),
  pack: (tree, file) => execFileSync('tar', ['-C', tree, '--numeric-owner', ...options, '-cf', file, '.']),
});
const xattrs = ['--xattrs', '--xattrs-include=*'];
const packers: Packer[] = [
  gnu('pax', ['--format=pax', ...xattrs], false),
  gnu('pax, sparse 1.0', ['--format=pax', '--sparse', ...xattrs], false),
  gnu('pax, sparse 0.1', ['--format=pax', '--sparse', '--sparse-version=0.1', ...xattrs], false),
  gnu('pax, sparse 0.0', ['--format=pax', '--sparse', '--sparse-version=0.0', ...xattrs], false),
  gnu('gnu', ['--format=gnu'], false, 'fractions and attributes'),
  gnu('gnu, sparse', ['--format=gnu', '--sparse'], false, 'fractions and attributes'),
  gnu('oldgnu', ['--format=oldgnu'], false, 'fractions and attributes'),
  gnu('ustar', ['--format=ustar'], true, 'fractions'),
  gnu('v7', ['--format=v7'], true, 'fractions'),
  ...(['pax', 'gnu'] as const).map(
    (format): Packer => ({
      name: `Python ${format}`,
      plain: false,
      loses: format === 'pax' ? 'microseconds and attributes' : 'fractions and attributes',
      pack: (tree, file) => execFileSync('python3', ['-c', python, format, file, tree]),
    }),
  ),
];

/** What differs, one line a path, short enough to be read. */
function differences(found: Tree, wanted: Tree, loses: Packer['loses']): string[] {
  const unit = loses?.startsWith('fractions') ? 1_000_000_000n : loses ? 1_000_000n : 1n;
  const text = (tree: Tree, path: string): string => {
    const { xattrs: attributes, ...node } = tree[path] ?? ({ mtime: -1n } as Tree[string]);
    const kept = { ...node, mtime: String(node.mtime / unit), ...(!loses?.includes('attributes') && { attributes }) };
    return JSON.stringify(kept);
  };
  return [...new Set([...Object.keys(found), ...Object.keys(wanted)])]
    .filter((path) => text(found, path) !== text(wanted, path))
    .map((path) => `${JSON.stringify(path)}: ${text(found, path)}, not ${text(wanted, path)}`);
}

type Tree = ReturnType<typeof treeOf>;

describe('archives of other programs', () => {
  let keel: Keel;
  before(() => {
    keel = Keel.spawn();
  });
  after(() => keel.close());

  for (const packer of packers) {
    test(`${packer.name}: random trees come out as they went in`, async () => {
      for (let seed = 1; seed <= 3; seed++) {
        using yard = new Yard();
        const from = join(yard.top, 'from');
        mkdirSync(from);
        growTree(from, seed, packer.plain);
        const file = join(yard.top, 'archive.tar');
        packer.pack(from, file);
        const { implied } = await yard.unpack(keel, readFileSync(file), { whiteouts: 'files' });
        assert.deepEqual(implied, []);
        const [found, wanted] = [yard.root, from].map((top) => treeOf(top, { xattrs: true })) as [Tree, Tree];
        assert.deepEqual(differences(found, wanted, packer.loses).slice(0, 3), [], `seed ${seed}`);
      }
    });
  }

  test('Python reads the headers that we write', () => {
    using yard = new Yard();
    const entries = [
      { path: 'd/', mode: 0o1777, mtime: 1_700_000_000_123_456_789n },
      { path: 'ä/€', mtime: -1_500_000_000n, uid: 3_000_000_000 },
      { path: `${'directory/'.repeat(30)}file`, content: 'x', xattrs: { 'user.a': 'b\n=' } },
      { path: 'l', type: 'symlink', link: '../'.repeat(50) } as const,
    ];
    const file = join(yard.top, 'a.tar');
    writeFileSync(file, archive(...entries));
    const script = `import json, sys, tarfile
print(json.dumps([[m.name, m.uid, m.mtime, m.mode, m.linkname, m.pax_headers.get('SCHILY.xattr.user.a')] for m in tarfile.open(sys.argv[1])]))`;
    const found = JSON.parse(execFileSync('python3', ['-c', script, file], { encoding: 'utf8' })) as unknown[][];
    assert.deepEqual(found, [
      ['d', 0, 1_700_000_000.123_456_7, 0o1777, '', null],
      ['ä/€', 3_000_000_000, -1.5, 0o644, '', null],
      [`${'directory/'.repeat(30)}file`, 0, 1e9, 0o644, '', 'b\n='],
      ['l', 0, 1e9, 0o644, '../'.repeat(50), null],
    ]);
  });

  test('a sparse file stays sparse', async () => {
    using yard = new Yard();
    const from = join(yard.top, 'from');
    mkdirSync(from);
    const fd = openSync(join(from, 'f'), 'w');
    writeSync(fd, 'end', 1 << 30);
    closeSync(fd);
    for (const options of [['--format=pax'], ['--format=gnu'], ['--format=pax', '--sparse-version=0.0']]) {
      const bytes = execFileSync('tar', ['-C', from, '-S', ...options, '-cf', '-', '.'], { maxBuffer: 1 << 25 });
      await yard.unpack(keel, bytes, { whiteouts: 'files' });
      const st = lstatSync(join(yard.root, 'f'));
      assert.equal(st.size, (1 << 30) + 3);
      assert.ok(st.blocks < 100, `${st.blocks} blocks`);
    }
  });
});
