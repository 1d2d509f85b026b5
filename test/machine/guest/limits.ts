import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { test } from 'node:test';
import { guestEngine } from './engine-fixture.ts';

const limits =
  'cd /sys/fs/cgroup; for f in memory.max memory.swap.max cpu.max cpu.weight pids.max cpuset.cpus; do echo $f $(cat $f); done; cat io.bfq.weight';

test('limits are the kernel’s', async () => {
  await using it = await guestEngine();
  const { text } = await it.run(['sh', '-c', limits], {
    resources: {
      memory: 64 << 20,
      memorySwap: 96 << 20,
      nanoCpus: 500_000_000,
      cpuShares: 512,
      pidsLimit: 20,
      cpusetCpus: '1',
      blkioWeight: 300,
    },
  });
  assert.match(text, /^memory\.max 67108864$/m);
  assert.match(text, /^memory\.swap\.max 33554432$/m);
  assert.match(text, /^cpu\.max 50000 100000$/m);
  assert.match(text, /^cpu\.weight \d+$/m);
  assert.match(text, /^pids\.max 20$/m);
  assert.match(text, /^cpuset\.cpus 1$/m);
  assert.match(text, /^default \d+$/m);
});

test('more processes than allowed can’t be started', async () => {
  await using it = await guestEngine();
  const { text } = await it.run(['sh', '-c', 'for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait'], {
    resources: { pidsLimit: 5 },
  });
  assert.match(text, /can't fork: Resource temporarily unavailable/);
});

test('a container that takes too much memory is killed, and that is told', async () => {
  await using it = await guestEngine();
  const id = await it.start(['dd', 'if=/dev/zero', 'of=/dev/shm/x', 'bs=1M', 'count=60'], {
    resources: { memory: 24 << 20, memorySwap: 24 << 20 },
  });
  assert.equal(await it.engine.wait(it.context, id), 137);
  const { state } = await it.engine.inspect(it.context, id);
  assert.deepEqual([state.state, state.oomKilled], ['exited', true]);
});

test('update changes the limits of a container that runs', async () => {
  await using it = await guestEngine();
  const id = await it.start(['sleep', '1000'], { resources: { memory: 64 << 20, memorySwap: 64 << 20 } });
  await it.engine.update(it.context, id, { resources: { memory: 128 << 20, memorySwap: 128 << 20, pidsLimit: 7 } });
  const { text } = await it.exec(id, ['sh', '-c', 'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max']);
  assert.equal(text, '134217728\n7\n');
});

test('pause stops a container and unpause lets it go on', async () => {
  await using it = await guestEngine();
  const id = await it.start(['sh', '-c', 'while :; do date +%s%N; sleep 0.1; done']);
  await it.engine.pause(it.context, id);
  assert.equal((await it.engine.inspect(it.context, id)).state.state, 'paused');
  const count = async (): Promise<number> => {
    let lines = 0;
    for await (const _ of it.engine.logs(it.context, id)) lines += 1;
    return lines;
  };
  const before = await count();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  assert.equal(await count(), before);
  await it.engine.unpause(it.context, id);
  assert.equal((await it.engine.inspect(it.context, id)).state.state, 'running');
  while ((await count()) === before) await new Promise((resolve) => setTimeout(resolve, 100));
});

test('stats say what the cgroup says', async () => {
  await using it = await guestEngine();
  const id = await it.start(['sh', '-c', 'sleep 1000 & sleep 1000 & wait'], { resources: { memory: 64 << 20 } });
  for await (const sample of it.engine.stats(it.context, id, { stream: true })) {
    assert.equal(sample.memoryLimit, 64 << 20);
    assert.ok(sample.memoryUsage > 0 && sample.memoryUsage < 64 << 20);
    assert.ok(sample.cpuTotal > 0);
    // The shell may not have come so far when the first sample is taken.
    if (sample.pids === 3) break;
    assert.ok(sample.pids < 3);
  }
});

test('devices are refused and permitted by the cgroup’s program', async () => {
  await using it = await guestEngine();
  const disk = statSync('/dev/vda').rdev;
  const node = `mknod /disk b ${disk >> 8} ${disk & 0xff}`;
  const { text: refused } = await it.run(['sh', '-c', `${node} && head -c 1 /disk; head -c 1 /dev/zero | wc -c`]);
  assert.match(refused, /disk: Operation not permitted\n1\n/);
  const devices = [{ hostPath: '/dev/vda', containerPath: '/dev/disk', permissions: 'r' }];
  const { text: permitted } = await it.run(['sh', '-c', 'head -c 1 /dev/disk | wc -c; : > /dev/disk'], { devices });
  assert.match(permitted, /^1\n.*can't create \/dev\/disk: Operation not permitted/);
});
