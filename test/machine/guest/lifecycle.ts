import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestEngine } from './engine-fixture.ts';

test('a container runs in a cgroup and a cgroup namespace of its own', async () => {
  await using it = await guestEngine();
  const { text, code } = await it.run(['cat', '/proc/self/cgroup']);
  assert.deepEqual({ text, code }, { text: '0::/\n', code: 0 });
});

test('run, exec, logs, stop, restart and remove', async () => {
  await using it = await guestEngine();
  const id = await it.start(['sh', '-c', 'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done']);
  assert.deepEqual(await it.exec(id, ['sh', '-c', 'echo in; exit 5']), { text: 'in\n', code: 5 });
  await it.engine.stop(it.context, id, { timeout: 60 });
  assert.equal((await it.engine.inspect(it.context, id)).state.exitCode, 3);
  await it.engine.restart(it.context, id);
  assert.equal((await it.engine.inspect(it.context, id)).state.state, 'running');
  await it.engine.kill(it.context, id);
  assert.equal(await it.engine.wait(it.context, id), 137);
  const lines: string[] = [];
  for await (const { line } of it.engine.logs(it.context, id)) lines.push(line);
  assert.deepEqual(lines, ['up\n', 'up\n']);
});

test('what a container is killed for, and what it ended with, is told', async () => {
  await using it = await guestEngine();
  assert.equal((await it.run(['sh', '-c', "sh -c 'kill -9 $$'; exit $?"])).code, 137);
  assert.equal((await it.run(['false'])).code, 1);
  await assert.rejects(it.run(['/no/such/program']), { code: 'command-not-found' });
  await assert.rejects(it.run(['/etc']), { code: 'command-not-executable' });
});

test('the default container has docker’s capabilities, a filter, and no way to the host’s kernel settings', async () => {
  await using it = await guestEngine();
  const { text } = await it.run([
    'sh',
    '-c',
    'cat /proc/self/status; echo 1 > /proc/sys/kernel/panic; mount -t tmpfs x /mnt',
  ]);
  assert.match(text, /^CapEff:\s+00000000a80425fb$/m);
  assert.match(text, /^Seccomp:\s+2$/m);
  assert.match(text, /panic: Read-only file system/);
  assert.match(text, /mount: .*(permission denied|Operation not permitted)/i);
});
