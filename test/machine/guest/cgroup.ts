import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

test('the machine has nothing but cgroup v2, with every controller', async () => {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  assert.match(mounts, / - cgroup2 /);
  assert.doesNotMatch(mounts, / - cgroup /);
  const controllers = (await readFile('/sys/fs/cgroup/cgroup.controllers', 'utf8')).trim().split(' ');
  for (const wanted of ['cpu', 'cpuset', 'io', 'memory', 'pids']) assert.ok(controllers.includes(wanted), wanted);
});

test('the machine has AppArmor', async () => {
  assert.equal((await readFile('/sys/module/apparmor/parameters/enabled', 'utf8')).trim(), 'Y');
});
