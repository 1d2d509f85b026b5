import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** A shell command as the user `mate`, in its session's group, which init has made. */
async function asMate(command: string): Promise<string> {
  const login = 'echo $$ > /sys/fs/cgroup/mate/session/cgroup.procs; exec su mate -c "$0"';
  const environment = { PATH: process.env['PATH'] ?? '', XDG_RUNTIME_DIR: '/run/user/1000', HOME: '/home/mate' };
  const { stdout } = await execute('sh', ['-c', login, command], { env: environment, cwd: '/', timeout: 200_000 });
  return stdout;
}

test('an ordinary user runs a container as root of a user namespace, with subordinate ids', async () => {
  const inside = 'id -u; cat /proc/self/uid_map; echo mine > /etc/mine && cat /etc/mine; hostname';
  const text = await asMate(`keelson run --rm --network none --hostname boat host sh -c "${inside}"`);
  const [uid, own, subordinate, written, hostname] = text.trim().split('\n');
  assert.equal(uid, '0');
  assert.deepEqual(own?.trim().split(/\s+/), ['0', '1000', '1']);
  assert.deepEqual(subordinate?.trim().split(/\s+/), ['1', '100000', '65536']);
  assert.deepEqual([written, hostname], ['mine', 'boat']);
});

test('an ordinary user’s containers keep limits in a delegated group, and share the host’s network', async () => {
  const inside = 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; readlink /proc/self/ns/net';
  const text = await asMate(
    `keelson run --rm --network host --memory 64m --pids-limit 9 host sh -c "${inside}"; readlink /proc/self/ns/net`,
  );
  const [memory, pids, network, outside] = text.trim().split('\n');
  assert.deepEqual([memory, pids], ['67108864', '9']);
  assert.equal(network, outside);
});
