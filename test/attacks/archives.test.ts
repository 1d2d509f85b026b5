/** ATTACKS, section B: archives that try to leave the directory they are unpacked into. Each in every mode that entries may be treated in. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { UnpackOptions } from '../../src/image/unpack.ts';
import { Keel } from '../../src/kernel/keel.ts';
import { archive, entryBytes, type EntrySpec, files, forge, names, refused, treeOf, Yard } from '../support/archive.ts';

const modes: readonly UnpackOptions['whiteouts'][] = ['overlay', 'overlay-userxattr', 'delete', 'files'];

/** An attack: entries, and either the words it is refused with or what it comes to inside the root. */
interface Attack {
  readonly name: string;
  readonly entries: (yard: Yard) => (EntrySpec | Buffer)[];
  readonly refused?: RegExp;
  readonly becomes?: readonly string[];
  readonly modes?: readonly UnpackOptions['whiteouts'][];
}

const symlink = (path: string, link: string): EntrySpec => ({ path, type: 'symlink', link });
const hardlink = (path: string, link: string): EntrySpec => ({ path, type: 'hardlink', link });

/** The header's own name field, whatever the writer would do with such a name. */
const named = (name: string, spec: Partial<EntrySpec> = {}): Buffer =>
  forge(entryBytes({ ...spec, path: 'x' }), 0, Buffer.from(name.padEnd(100, '\0')));

const marked: readonly UnpackOptions['whiteouts'][] = ['overlay', 'overlay-userxattr', 'delete'];

const attacks: Attack[] = [
  {
    name: '.. leaves the root',
    entries: () => files('../outside/new'),
    refused: /\.\.\/outside\/new: the name leaves the root/,
  },
  { name: '.. in the middle leaves the root', entries: () => files('a/../../outside/new'), refused: /leaves the root/ },
  { name: '.. at the end', entries: () => files('a/../..'), refused: /leaves the root/ },
  { name: '.. inside the root is folded', entries: () => files('a/../b'), becomes: ['b'] },
  {
    name: '.. before a missing directory is folded, not followed',
    entries: () => files('no/such/../b'),
    becomes: ['no/', 'no/b'],
  },
  {
    name: 'an absolute name is one from the root',
    entries: (y) => files(`${y.outside}/new`.slice(0, 90)),
    becomes: undefined as never,
  },
  { name: 'an absolute name with ..', entries: () => files('/../../etc/new'), refused: /leaves the root/ },
  { name: 'the root itself as a file', entries: () => [named('./')], refused: /an entry without a name/ },
  { name: 'the root itself as a symlink', entries: () => [symlink('.', '/etc')], refused: /an entry without a name/ },
  {
    name: 'the root itself as a hard link',
    entries: () => [...files('f'), hardlink('./', 'f')],
    refused: /an entry without a name/,
  },
  { name: 'an empty name', entries: () => [named('')], refused: /an entry without a name/ },
  {
    name: 'CVE-2014-9356: a symlink out, then a file through it',
    entries: (y) => [symlink('d', y.outside), ...files('d/new')],
    refused: /d\/new: its parent d is no directory, or a link that leads nowhere/,
  },
  {
    name: 'a relative symlink out, then a file through it',
    entries: () => [symlink('d', '../outside'), ...files('d/new')],
    refused: /d\/new: its parent d is no directory/,
  },
  {
    name: 'a chain of symlinks out, then a file through it',
    entries: () => [
      ...files('a/'),
      symlink('a/up', '..'),
      symlink('b', 'a/up/..'),
      symlink('c', 'b/../../outside'),
      ...files('c/new'),
    ],
    refused: /c\/new: its parent c is no directory/,
  },
  {
    name: 'a chain of symlinks up ends at the root',
    entries: () => [...files('a/b/'), symlink('a/b/up', '../../../../..'), ...files('a/b/up/new')],
    becomes: ['a/', 'a/b/', 'a/b/up', 'new'],
  },
  {
    name: 'a symlink to itself',
    entries: () => [symlink('l', 'l'), ...files('l/new')],
    refused: /l\/new: .*(symbolic link|no directory)/,
  },
  {
    name: 'a symlink out, then a file in its place',
    entries: (y) => [symlink('f', join(y.outside, 'secret')), ...files('f')],
    becomes: ['f'],
  },
  {
    name: 'a symlink out, then a directory with a mode in its place',
    entries: (y) => [symlink('d', y.outside), { path: 'd/', mode: 0o777, uid: 1 }],
    becomes: ['d/'],
  },
  {
    name: 'CVE-2014-6407: a hard link to a file outside by ..',
    entries: () => [hardlink('h', '../outside/secret'), { path: 'h', content: 'overwritten' }],
    refused: /h: its hard link's target \.\.\/outside\/secret is outside of the root/,
  },
  {
    name: 'a hard link to a file outside by an absolute name',
    entries: (y) => [hardlink('h', join(y.outside, 'secret'))],
    refused: /h: making a hard link to .*: No such file or directory/,
  },
  {
    name: 'go-archive 2026-17106: a hard link through a symlink out',
    entries: () => [symlink('d', '../outside'), hardlink('h', 'd/secret')],
    refused: /h: making a hard link to d\/secret: No such file or directory/,
  },
  {
    name: 'a hard link to a symlink out, then content for it',
    entries: (y) => [
      symlink('s', join(y.outside, 'secret')),
      hardlink('h', 's'),
      { path: 'h', content: 'overwritten' },
    ],
    becomes: ['h', 's'],
  },
  {
    name: 'containerd 2021-32760: a hard link to a symlink out, with mode and owner',
    entries: (y) => [symlink('s', join(y.outside, 'secret')), { ...hardlink('h', 's'), mode: 0o777, uid: 7, gid: 7 }],
    becomes: ['h', 's'],
  },
  {
    name: 'a hard link to a directory',
    entries: () => [...files('d/'), hardlink('h', 'd')],
    refused: /h: making a hard link to d/,
  },
  { name: 'a hard link to the root', entries: () => [hardlink('h', '.')], refused: /h: making a hard link to/ },
  {
    name: 'a hard link to itself',
    entries: () => [hardlink('h', 'h')],
    refused: /h: making a hard link to h: No such file/,
  },
  {
    name: 'a hard link whose name replaces what it points to',
    entries: () => [...files('d/f'), hardlink('d', 'd/f')],
    refused: /d: making a hard link to d\/f/,
  },
  {
    name: 'a directory replaced by a symlink out after it was used',
    entries: (y) => [...files('d/e/one'), symlink('d', y.outside), ...files('d/two')],
    refused: /d\/two: its parent d is no directory/,
  },
  {
    name: 'a directory deep down replaced by a symlink out after it was used',
    entries: () => [...files('a/d/one'), symlink('a/d', '../../outside'), ...files('a/d/two')],
    refused: /a\/d\/two: its parent a\/d is no directory/,
  },
  {
    name: 'a directory whose time is set at the end has become a symlink out',
    entries: (y) => [{ path: 'd/', mtime: 1n }, symlink('d', y.outside)],
    becomes: ['d'],
  },
  { name: 'a file as a parent', entries: () => files('f', 'f/new'), refused: /f\/new: its parent f is no directory/ },
  {
    name: 'a FIFO as a parent',
    entries: () => [{ path: 'p', type: 'fifo' }, ...files('p/new')],
    refused: /its parent p is no directory/,
  },
  {
    name: 'a FIFO, then a file in its place: nothing is opened that blocks',
    entries: () => [{ path: 'p', type: 'fifo' }, ...files('p')],
    becomes: ['p'],
  },
  {
    name: 'a device, then content in its place: it is not written to',
    entries: () => [
      { path: 'n', type: 'char', major: 1, minor: 3 },
      { path: 'n', content: 'x' },
    ],
    becomes: ['n'],
  },
  {
    name: 'a whiteout of ..',
    entries: () => files('d/', 'd/.wh...'),
    refused: /d\/\.wh\.\.\.: a whiteout of nothing/,
    modes: marked,
  },
  { name: 'a whiteout of .', entries: () => files('d/', 'd/.wh..'), refused: /a whiteout of nothing/, modes: marked },
  { name: 'a whiteout of nothing', entries: () => files('d/.wh.'), refused: /a whiteout of nothing/, modes: marked },
  {
    name: 'a whiteout through a symlink out',
    entries: (y) => [symlink('d', y.outside), ...files('d/.wh.secret')],
    refused: /its parent d is no directory/,
    modes: ['overlay', 'overlay-userxattr'],
  },
  {
    name: 'a whiteout through a symlink out removes nothing',
    entries: (y) => [symlink('d', y.outside), symlink('r', '../outside'), ...files('d/.wh.secret', 'r/.wh..wh..opq')],
    becomes: ['d', 'r'],
    modes: ['delete'],
  },
  {
    name: 'an entry beneath a whiteout',
    entries: () => files('.wh.d/new'),
    refused: /lies beneath a whiteout/,
    modes: marked,
  },
  { name: 'a name with a NUL', entries: () => [paxPath('a\0b')], refused: /a name with a NUL/ },
  {
    name: 'a name of 4,096 characters',
    entries: () => files('n/'.repeat(2049)),
    refused: /the name: File name too long/,
  },
  {
    name: 'a name of 4,096 characters without a slash',
    entries: () => files('n'.repeat(4096)),
    refused: /the name: File name too long/,
  },
  {
    name: 'a component of 256 characters',
    entries: () => files('n'.repeat(256)),
    refused: /making the file: File name too long/,
  },
  {
    name: 'a symlink to 4,096 characters',
    entries: () => [symlink('l', 'n'.repeat(4096))],
    refused: /a symbolic link to a name that is too long/,
  },
  { name: 'a symlink to nothing', entries: () => [symlink('l', '')], refused: /a symbolic link to nothing/ },
  {
    name: 'an owner that would mean no change',
    entries: () => [{ path: 'f', uid: 4_294_967_295 }],
    refused: /uid 4294967295 is out of range/,
  },
  {
    name: 'an owner out of range',
    entries: () => [{ path: 'f', gid: 4_294_967_296 }],
    refused: /gid 4294967296 is out of range/,
  },
  {
    name: 'an unknown type',
    entries: () => [forge(entryBytes({ path: 'f' }), 156, 'Z')],
    refused: /f: type 90 of an entry is unknown/,
  },
  {
    name: 'a negative size',
    entries: () => [forge(entryBytes({ path: 'f' }), 124, Buffer.from('ffffffffffffffffffffff00', 'hex'))],
    refused: /the size in the header at byte 0 is malformed/,
  },
  {
    name: 'a size of 2^63 - 1',
    entries: () => [forge(entryBytes({ path: 'f' }), 124, Buffer.from('800000007fffffffffffffff', 'hex'))],
    refused: /malformed|cut off/,
  },
  {
    name: 'an extended header of a gigabyte',
    entries: () => [forge(entryBytes({ path: 'f', size: 1 << 30 }), 156, 'x')],
    refused: /an extended header of 1073741824 bytes is too large/,
  },
  {
    name: 'an extended header whose length lies',
    entries: () => [pax('99999 path=a\n'), ...files('f')],
    refused: /an extended header is malformed/,
  },
  {
    name: 'an extended header without an end',
    entries: () => [pax('11 path=abc'), ...files('f')],
    refused: /an extended header is malformed/,
  },
  {
    name: 'a sparse file that is larger than any file',
    entries: () => [sparse('9223372036854775000', '0,1')],
    refused: /File too large|Invalid argument/,
  },
  { name: 'a sparse map that overlaps', entries: () => [sparse('100', '0,1,0,0')], refused: /overlap or lie outside/ },
  {
    name: 'a sparse map that lies outside',
    entries: () => [sparse('100', '100,1')],
    refused: /overlap or lie outside/,
  },
  { name: 'a sparse map with more than its data', entries: () => [sparse('100', '0,50')], refused: /don't add up/ },
  { name: 'a sparse map of words', entries: () => [sparse('100', 'a,b')], refused: /malformed/ },
];

function pax(records: string | Buffer): Buffer {
  const data = Buffer.from(records);
  return forge(entryBytes({ path: 'PaxHeaders/x', content: data }), 156, 'x');
}

function paxPath(path: string): Buffer {
  const record = ` path=${path}\n`;
  return Buffer.concat([pax(`${record.length + 2}${record}`), entryBytes({ path: 'f' })]);
}

/** A file of GNU's sparse format 0.1 with one byte of data. */
function sparse(size: string, map: string): Buffer {
  const records = [`GNU.sparse.size=${size}`, `GNU.sparse.map=${map}`].map((r) => `${r.length + 4} ${r}\n`).join('');
  return Buffer.concat([pax(records), entryBytes({ path: 'f', content: 'x' })]);
}

describe('hostile archives', () => {
  let keel: Keel;
  before(() => {
    keel = Keel.spawn();
  });
  after(() => keel.close());

  for (const attack of attacks) {
    test(attack.name, async () => {
      for (const whiteouts of attack.modes ?? modes) {
        using yard = new Yard();
        prepareOutside(yard);
        const untouched = treeOf(yard.outside);
        const unpacking = yard.unpack(keel, archive(...attack.entries(yard)), { whiteouts });
        if (attack.refused) await refused(unpacking, await codeOf(unpacking), attack.refused);
        else await unpacking;
        if (attack.becomes) assert.deepEqual(names(yard.tree()), attack.becomes, whiteouts);
        assert.deepEqual(treeOf(yard.outside), untouched);
        assert.deepEqual(readdirSync(yard.top).sort(), ['outside', 'root', 'scratch']);
        // What comes after works.
        await yard.unpack(keel, archive(...files('afterwards')), { whiteouts });
      }
    });
  }

  test('what is no tar archive is refused as such', async () => {
    using yard = new Yard();
    await refused(yard.unpack(keel, Buffer.alloc(4096, 'text ')), 'corrupt', /archive: not a tar archive/);
    await refused(yard.unpack(keel, Buffer.from('short')), 'corrupt', /archive: the archive is cut off after 5 bytes/);
  });

  test('an archive cut off anywhere is refused, or ends between entries', async () => {
    using yard = new Yard();
    const bytes = archive({ path: 'a', content: Buffer.alloc(1500) }, ...files('b'), { path: 'l'.repeat(150) });
    for (let cut = 1; cut < bytes.length - 1024; cut += 97) {
      const unpacking = yard.unpack(keel, bytes.subarray(0, cut), { whiteouts: 'files' });
      if (cut % 512 === 0) await unpacking.catch(() => {});
      else await refused(unpacking, 'corrupt', /cut off after/);
    }
  });

  test('every byte of a header may be wrong: refused, or another file in the root', async () => {
    using yard = new Yard();
    prepareOutside(yard);
    const untouched = treeOf(yard.outside);
    const good = entryBytes({ path: 'a', content: 'x', xattrs: { 'user.a': 'b' } });
    for (let at = 0; at < good.length; at += 31) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] as number) ^ 0x41;
      await yard.unpack(keel, Buffer.concat([bad, Buffer.alloc(1024)]), { whiteouts: 'files' }).catch(() => {});
      const base = at - (at % 512);
      const forged = Buffer.concat([
        good.subarray(0, base),
        forge(bad.subarray(base), 0, bad.subarray(base, base + 1)),
      ]);
      await yard.unpack(keel, Buffer.concat([forged, Buffer.alloc(1024)]), { whiteouts: 'files' }).catch(() => {});
    }
    assert.deepEqual(treeOf(yard.outside), untouched);
  });

  test('a message has no control characters of a name', async () => {
    using yard = new Yard();
    await refused(
      yard.unpack(keel, archive(...files('../\u001b[2Jx\ny'))),
      'corrupt',
      /\.\.\/\?\[2Jx\?y: the name leaves the root/,
    );
  });

  test('CVE-2018-15664: a directory swapped for a symlink out while entries are made in it', async () => {
    using yard = new Yard();
    prepareOutside(yard);
    const untouched = Object.keys(treeOf(yard.outside));
    mkdirSync(join(yard.root, 'd'));
    const { spawn } = await import('node:child_process');
    symlinkSync(yard.outside, join(yard.root, 'other'));
    const script = `import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(${JSON.stringify(yard.root)})
print('ready', flush=True)
while True: libc.renameat2(-100, b'd', -100, b'other', 2)`;
    const swapper = spawn('python3', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      await new Promise((resolve) => swapper.stdout.once('data', resolve));
      const bytes = archive(...files(...Array.from({ length: 200 }, (_, i) => `d/f${i}`)));
      for (let i = 0; i < 50; i++) await yard.unpack(keel, bytes, { whiteouts: 'files' }).catch(() => {});
    } finally {
      swapper.kill('SIGKILL');
    }
    assert.deepEqual(Object.keys(treeOf(yard.outside)), untouched);
  });
});

function prepareOutside(yard: Yard): void {
  writeFileSync(join(yard.outside, 'secret'), 'secret');
  mkdirSync(join(yard.outside, 'directory'), { mode: 0o700 });
  chmodSync(join(yard.outside, 'secret'), 0o600);
}

/** The archive's fault or the kernel's word: the corpus asserts the text, this the kind. */
async function codeOf(promise: Promise<unknown>): Promise<string> {
  const code = await promise.then(
    () => 'nothing',
    (error: { code?: string }) => error.code ?? 'none',
  );
  assert.ok(['corrupt', 'kernel', 'not-found', 'denied'].includes(code), code);
  return code;
}
