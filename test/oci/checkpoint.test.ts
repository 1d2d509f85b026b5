/** checkpoint and restore, with CRIU where it is there and works; what is said where it is not. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { findProgram } from '../../src/kernel/facts.ts';
import { Oci, ociBinary } from '../support/oci.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const needsCriu = skip || (criuWorks() ? false : 'needs a CRIU that works on this kernel (criu check)');

function criuWorks(): boolean {
  const criu = findProgram('criu');
  if (criu === undefined) return false;
  try {
    execFileSync(criu, ['check'], { stdio: 'ignore', timeout: 20_000 });
    return true;
  } catch {
    return false;
  }
}

const counting = ['sh', '-c', 'i=0; while true; do i=$((i+1)); echo $i > /tmp/count; sleep 0.1; done'];

function count(bundle: string): number {
  return Number(readFileSync(join(bundle, 'rootfs/tmp/count'), 'utf8').trim() || '0');
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = Date.now() + 5000; Date.now() < end; await sleep(20)) if (holds()) return;
  assert.fail(`not within 5 s: ${what}`);
}

test('without CRIU both say what is missing, and the container goes on', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['sleep', '100']);
  assert.equal((await oci.command('run', '-d', '-b', bundle, 'c')).code, 0);
  const criu = ['--criu', join(oci.directory, 'no-criu')];
  const images = join(oci.directory, 'images');
  const dump = await oci.command(...criu, 'checkpoint', '--image-path', images, 'c');
  assert.equal(dump.code, 1);
  assert.match(dump.stderr, /running \S+no-criu: execve: ENOENT/);
  assert.equal((await oci.state('c'))['status'], 'running');
  const restored = await oci.command('restore', '--image-path', images, '-b', bundle, 'd');
  assert.equal(restored.code, 1, 'there is nothing to restore');
  assert.deepEqual((await oci.command('list', '-q')).stdout, 'c\n');
});

test('flags that make no sense are refused before CRIU is asked', { skip }, async () => {
  await using oci = new Oci();
  assert.equal((await oci.command('run', '-d', '-b', oci.bundle(['sleep', '100']), 'c')).code, 0);
  const images = join(oci.directory, 'images');
  const refused = async (flags: readonly string[], why: RegExp) => {
    const { code, stderr } = await oci.command('checkpoint', '--image-path', images, ...flags, 'c');
    assert.equal(code, 1, flags.join(' '));
    assert.match(stderr, why);
  };
  await refused(['--parent-path', '/absolute'], /--parent-path must be relative/);
  await refused(['--parent-path', '../none'], /invalid --parent-path/);
  await refused(['--page-server', 'nowhere'], /Use --page-server ADDRESS:PORT/);
  await refused(['--empty-ns', 'pid'], /is not supported/);
});

test('a container goes on where it was when it was checkpointed', { skip: needsCriu }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(counting, (spec) => ({ ...spec, root: { ...spec.root, readonly: false } }));
  const images = join(oci.directory, 'images');
  // Streams to outside would have to be there again when it is restored.
  const quiet = (...args: readonly string[]) =>
    spawnSync(ociBinary, ['--root', oci.root, ...args], { stdio: 'ignore' }).status;
  assert.equal(quiet('run', '-d', '-b', bundle, 'c'), 0);
  await until('it counts', () => existsSync(join(bundle, 'rootfs/tmp/count')) && count(bundle) > 3);

  assert.equal(quiet('checkpoint', '--leave-running', '--image-path', join(oci.directory, 'first'), 'c'), 0);
  assert.equal((await oci.state('c'))['status'], 'running');

  assert.equal(quiet('checkpoint', '--image-path', images, 'c'), 0);
  assert.match((await oci.command('state', 'c')).stderr, /container does not exist/);
  const stopped = count(bundle);
  await sleep(300);
  assert.equal(count(bundle), stopped, 'nobody counts any more');

  assert.equal(
    quiet('restore', '-d', '--pid-file', join(oci.directory, 'pid'), '--image-path', images, '-b', bundle, 'c'),
    0,
  );
  const state = await oci.state('c');
  assert.equal(state['status'], 'running');
  assert.equal(state['pid'], Number(readFileSync(join(oci.directory, 'pid'), 'utf8')));
  await until('it counts on', () => count(bundle) > stopped);
  assert.ok(count(bundle) < stopped + 50, 'from where it was, not from the beginning');
  assert.match((await oci.command('exec', 'c', 'ps')).stdout, /1 .*sh -c/);
  assert.ok(!existsSync(join(oci.root, 'c/criu-root')), 'what was mounted for CRIU is gone');
  assert.doesNotMatch(readFileSync('/proc/self/mountinfo', 'utf8'), /criu-root/);
});
