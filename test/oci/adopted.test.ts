/** The planner below a subreaper that waits for all its children to end, as conmon does. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { Oci, ociBinary } from '../support/oci.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';

/** Runs a container, then waits for children until there is none; prints how long that took.. */
const subreaper = `
import ctypes, os, subprocess, sys, time
libc = ctypes.CDLL(None)
assert libc.prctl(36, 1, 0, 0, 0) == 0
keelson, root, bundle = sys.argv[1:]
assert libc.unshare(0x20000) == 0
subprocess.check_call([keelson, '--root', root, 'run', '-b', bundle, 'x'])
begin = time.time()
try:
    while True: os.wait()
except ChildProcessError:
    print(time.time() - begin)
`;

test('a planner that its adopter waits for leaves', { skip }, async () => {
  await using oci = new Oci();
  // In a mount namespace of its own, so that no planner is there yet.
  const words = ['-c', subreaper, ociBinary, oci.root, oci.bundle(['true'])];
  const { stdout } = await promisify(execFile)('python3', words, { timeout: 50_000 });
  assert.ok(Number(stdout) < 10, `waited ${stdout} s`);
});
