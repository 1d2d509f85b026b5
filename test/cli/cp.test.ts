import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, readFile, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { type TestEngine, testEngine } from '../support/engine.ts';

/** A container with /d/{one,sub/two}, a link to it, and nothing running. */
async function box(e: TestEngine): Promise<void> {
  const make =
    'mkdir -p /d/sub && echo 1 > /d/one && echo 2 > /d/sub/two && chmod 640 /d/one && ln -s /d /link && touch -d @1000000000 /d/one';
  const { code } = await e.cli(['run', '--name', 'box', '--network', 'none', 'host', 'sh', '-c', make]);
  assert.equal(code, 0);
}

test('out of a container: files, directories, new names', async () => {
  await using e = await testEngine();
  await box(e);
  const at = (...path: string[]): string => join(e.scratch, ...path);
  await e.keelson('cp', 'box:/d/one', '.');
  assert.equal(await readFile(at('one'), 'utf8'), '1\n');
  const { mode, mtimeMs } = await stat(at('one'));
  assert.deepEqual([mode & 0o777, mtimeMs], [0o640, 1_000_000_000_000]);
  await e.keelson('cp', 'box:/d/one', 'renamed');
  assert.equal(await readFile(at('renamed'), 'utf8'), '1\n');
  await e.keelson('cp', 'box:/d', 'fresh');
  assert.deepEqual((await readdir(at('fresh'))).toSorted(), ['one', 'sub']);
  await e.keelson('cp', 'box:/d', 'fresh');
  assert.deepEqual((await readdir(at('fresh'))).toSorted(), ['d', 'one', 'sub']);
  await mkdir(at('content'));
  await e.keelson('cp', 'box:/d/.', 'content');
  assert.deepEqual((await readdir(at('content'))).toSorted(), ['one', 'sub']);
  await e.keelson('cp', '-L', 'box:/link', 'followed');
  assert.deepEqual((await readdir(at('followed'))).toSorted(), ['one', 'sub']);
});

test('into a container, stopped or running', async () => {
  await using e = await testEngine();
  await box(e);
  const at = (...path: string[]): string => join(e.scratch, ...path);
  await writeFile(at('file'), 'from outside\n');
  await mkdir(at('tree/deep'), { recursive: true });
  await writeFile(at('tree/deep/leaf'), 'leaf\n');
  await symlink('deep/leaf', at('tree/link'));
  await e.keelson('cp', 'file', 'box:/d/');
  await e.keelson('cp', 'file', 'box:/d/other');
  await e.keelson('cp', 'tree', 'box:/d');
  await e.keelson('cp', 'tree/.', 'box:/new');
  await e.keelson('run', '-d', '--name', 'live', '--network', 'none', 'host', 'sleep', '1000');
  await e.keelson('cp', 'file', 'live:/root-file');
  assert.equal(
    await e.keelson('exec', 'live', 'sh', '-c', 'cat /root-file; stat -c %u:%g /root-file'),
    'from outside\n0:0',
  );
  const listing = execFileSync('tar', ['-t'], { input: await tarOf(e, 'box:/d') })
    .toString()
    .split('\n');
  for (const name of ['d/file', 'd/other', 'd/tree/deep/leaf', 'd/tree/link']) assert.ok(listing.includes(name), name);
  assert.match(execFileSync('tar', ['-t'], { input: await tarOf(e, 'box:/new') }).toString(), /^new\/deep\/leaf$/m);
});

async function tarOf(e: TestEngine, from: string): Promise<Buffer> {
  await e.cli(['cp', from, '-']);
  const child = e.start(['cp', from, '-']);
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

test('archives through standard input and output', async () => {
  await using e = await testEngine();
  await box(e);
  const archive = await tarOf(e, 'box:/d/sub');
  const { code, stderr } = await e.cli(['cp', '-', 'box:/tmp'], { input: archive });
  assert.deepEqual([code, stderr], [0, '']);
  await e.keelson('cp', 'box:/tmp/sub/two', 'back');
  assert.equal(await readFile(join(e.scratch, 'back'), 'utf8'), '2\n');
});

test('what can not be copied', async () => {
  await using e = await testEngine();
  await box(e);
  await mkdir(join(e.scratch, 'dir'));
  await writeFile(join(e.scratch, 'file'), '');
  for (const [from, to, message] of [
    ['box:/nope', '.', /Could not find the file \/nope in container box|no such|not found/i],
    ['nowhere:/x', '.', /No such container: nowhere/],
    ['box:/d/one', '/no/such/dir/', /invalid output path: directory "\/no\/such" does not exist/],
    ['box:/d', 'file', /cannot copy directory/],
    ['box:/d/one', 'missing/', /no such directory/],
    ['/no/such/file', 'box:/', /lstat \/no\/such\/file: no such file or directory/],
    ['dir', 'box:/d/one', /cannot copy directory/],
    ['file', 'box:/nope/', /no such directory/],
    ['file', 'box:/nope/x', /\/nope/],
  ] as const) {
    const { code, stderr } = await e.cli(['cp', from, to]);
    assert.equal(code, 1, `${from} ${to}`);
    assert.match(stderr, message);
  }
});
