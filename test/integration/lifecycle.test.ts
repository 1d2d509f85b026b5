import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEngine, outputOf } from '../support/open-engine.ts';

const forever = ['sleep', '1000'];

test('a container runs, says what it has to say, and goes with --rm', async () => {
  await using e = await openEngine();
  const said = await e.output({ command: ['sh', '-c', 'echo out; echo err >&2; exit 3'] });
  assert.deepEqual(said, { stdout: 'out\n', stderr: 'err\n', exitCode: 3 });
  assert.deepEqual(await e.engine.list(e.context, { all: true }), []);
});

test('its process, host name, user and files are its own', async () => {
  await using e = await openEngine();
  const { stdout } = await e.output({
    command: ['sh', '-c', 'echo $$; hostname; id -u; cat /etc/hostname; touch /etc/x && echo written; pwd'],
    hostname: 'box',
    user: '1000',
    workingDir: '/opt/new',
  });
  assert.deepEqual(stdout.split('\n').slice(0, 4), ['1', 'box', '1000', 'box']);
  assert.ok(!stdout.includes('written') && stdout.endsWith('/opt/new\n'), stdout);
  assert.equal(existsSync('/opt/new'), false);
});

test('states: created, running, paused, exited; and what each refuses', async () => {
  await using e = await openEngine();
  const { engine, context } = e;
  const { id } = await engine.create(context, { image: 'host', network: 'none', name: 'web', command: forever });
  assert.equal((await e.inspect('web')).state.state, 'created');
  await assert.rejects(engine.kill(context, id), { code: 'conflict' });
  await assert.rejects(engine.pause(context, id), { code: 'conflict' });
  await assert.rejects(engine.exec(context, id, { command: ['true'] }), { code: 'conflict' });
  await engine.start(context, id.slice(0, 12));
  await engine.start(context, id); // no error, as with docker
  const { state } = await e.inspect(id);
  assert.equal(state.state, 'running');
  assert.ok(existsSync(`/proc/${state.pid}`));
  await assert.rejects(engine.remove(context, id), { code: 'conflict', message: /container is running/ });
  await engine.pause(context, id);
  await assert.rejects(engine.pause(context, id), { code: 'conflict' });
  await assert.rejects(engine.start(context, id), { message: 'cannot start a paused container, try unpause instead' });
  await assert.rejects(engine.exec(context, id, { command: ['true'] }), { message: /paused/ });
  await engine.unpause(context, id);
  await engine.kill(context, id);
  assert.deepEqual((({ state: s, exitCode, pid }) => ({ s, exitCode, pid }))((await e.inspect(id)).state), {
    s: 'exited',
    exitCode: 137,
    pid: 0,
  });
  await engine.start(context, id);
  await engine.remove(context, id, { force: true });
  await assert.rejects(e.inspect(id), { code: 'not-found', message: `No such container: ${id}` });
});

test('a paused container can be stopped', async () => {
  await using e = await openEngine();
  const id = await e.run({ command: ['sh', '-c', 'trap "exit 9" TERM; echo ready; while :; do sleep 0.01; done'] });
  for await (const { line } of e.engine.logs(e.context, id, { follow: true })) if (line === 'ready\n') break;
  await e.engine.pause(e.context, id);
  await e.engine.stop(e.context, id);
  assert.equal((await e.inspect(id)).state.exitCode, 9);
});

test('stop sends the stop signal, and SIGKILL to one that does not end', async () => {
  await using e = await openEngine();
  const polite = await e.run({
    command: ['sh', '-c', 'trap "exit 5" INT; echo ready; while :; do sleep 0.01; done'],
    stopSignal: 'SIGINT',
  });
  const stubborn = await e.run({ command: ['sh', '-c', 'trap "" TERM; echo ready; while :; do sleep 0.01; done'] });
  for (const id of [polite, stubborn]) {
    for await (const { line } of e.engine.logs(e.context, id, { follow: true })) if (line === 'ready\n') break;
  }
  await Promise.all([
    e.engine.stop(e.context, polite),
    e.engine.stop(e.context, stubborn, { timeout: 1 }),
    e.engine.stop(e.context, stubborn, { timeout: 1 }),
  ]);
  assert.equal((await e.inspect(polite)).state.exitCode, 5);
  assert.equal((await e.inspect(stubborn)).state.exitCode, 137);
  await e.engine.stop(e.context, polite); // stopped already
});

test('rm -f need not wait for a stop that takes its time', async () => {
  await using e = await openEngine();
  const id = await e.run({ command: ['sh', '-c', 'trap "" TERM; while :; do sleep 0.01; done'] });
  const stopping = e.engine.stop(e.context, id, { timeout: 60 });
  await sleep(50);
  await e.engine.remove(e.context, id, { force: true });
  await stopping;
});

test('what can not be executed is told in docker’s words, with 127 or 126, and leaves the container created', async () => {
  await using e = await openEngine();
  const { engine, context } = e;
  const make = async (command: string[]): Promise<string> =>
    (await engine.create(context, { image: 'host', network: 'none', command })).id;
  const missing = await make(['no-such-program']);
  await assert.rejects(engine.start(context, missing), {
    code: 'command-not-found',
    message: 'exec: "no-such-program": executable file not found in $PATH',
  });
  const { state } = await e.inspect(missing);
  assert.deepEqual([state.state, state.exitCode], ['created', 127]);
  assert.match(state.error, /not found in \$PATH/);
  await assert.rejects(engine.start(context, await make(['/etc/passwd'])), {
    code: 'command-not-executable',
    message: 'exec: "/etc/passwd": permission denied',
  });
  await assert.rejects(e.output({ command: ['/nowhere'] }), { code: 'command-not-found' });
  assert.equal((await engine.list(context, { all: true })).length, 2, 'the one with --rm is gone');
});

test('a user that does not exist, and a working directory that is a file', async () => {
  await using e = await openEngine();
  await assert.rejects(e.output({ command: ['true'], user: 'nobody-knows' }), {
    message: 'unable to find user nobody-knows: no matching entries in passwd file',
  });
  await assert.rejects(e.output({ command: ['true'], workingDir: '/etc/passwd' }));
});

test('standard input reaches the process, and its end too', async () => {
  await using e = await openEngine();
  const { engine, context } = e;
  const { id } = await engine.create(context, {
    image: 'host',
    network: 'none',
    command: ['cat'],
    openStdin: true,
    stdinOnce: true,
    autoRemove: true,
  });
  const attachment = await engine.start(context, id, { attach: { stdin: true, stdout: true, stderr: true } });
  assert.ok(attachment);
  const output = outputOf(attachment);
  await attachment.write(Buffer.from('x'.repeat(100_000)));
  attachment.closeStdin();
  assert.equal((await output).stdout.length, 100_000);
});

test('a terminal has a size, and one stream', async () => {
  await using e = await openEngine();
  const { engine, context } = e;
  const { id } = await engine.create(context, {
    ...{ image: 'host', network: 'none', tty: true, openStdin: true, autoRemove: true },
    command: ['sh', '-c', 'read go; stty size; echo err >&2; tty'],
  });
  const attachment = await engine.start(context, id, { attach: { stdin: true, stdout: true, stderr: true } });
  assert.ok(attachment);
  attachment.resize(100, 40);
  await attachment.write(Buffer.from('go\n'));
  const { stdout, stderr } = await outputOf(attachment);
  assert.match(stdout, /40 100\s+err\s+\/dev\/(pts\/0|console)/);
  assert.equal(stderr, '');
});

test('attach joins a running container and can leave it', async () => {
  await using e = await openEngine();
  const id = await e.run({ command: ['sh', '-c', 'while read line; do echo "got $line"; done'], openStdin: true });
  {
    await using first = await e.engine.attach(e.context, id, { stdin: true, stdout: true, stderr: true });
    await first.write(Buffer.from('one\n'));
    for await (const { data } of first.output) {
      assert.equal(Buffer.from(data).toString(), 'got one\n');
      break;
    }
  }
  assert.equal((await e.inspect(id)).state.state, 'running');
});

test('wait: for the end, for the next one, for removal', async () => {
  await using e = await openEngine();
  const { engine, context } = e;
  const id = await e.run({ command: ['sh', '-c', 'sleep 0.2; exit 4'] });
  const next = engine.wait(context, id, 'next-exit');
  assert.equal(await engine.wait(context, id), 4);
  assert.equal(await engine.wait(context, id), 4, 'of the last run');
  assert.equal(await next, 4);
  const removed = engine.wait(context, id, 'removed');
  const again = engine.wait(context, id, 'next-exit');
  await engine.start(context, id);
  assert.equal(await again, 4);
  await engine.remove(context, id);
  assert.equal(await removed, 4);
});

test('names: taken, given anew, invalid, by prefix', async () => {
  await using e = await openEngine();
  const { engine, context } = e;
  const config = { image: 'host', network: 'none', command: ['true'] } as const;
  const { id } = await engine.create(context, { ...config, name: 'one' });
  await assert.rejects(engine.create(context, { ...config, name: 'one' }), {
    code: 'already-exists',
    message: `Conflict. The container name "/one" is already in use by container "${id}". You have to remove (or rename) that container to be able to reuse that name.`,
  });
  await assert.rejects(engine.create(context, { ...config, name: '../x' }), { code: 'invalid-argument' });
  const { id: other } = await engine.create(context, config);
  assert.match((await e.inspect(other)).name, /^[a-z]+_[a-z]+\d*$/);
  await assert.rejects(engine.rename(context, other, 'one'), { code: 'already-exists' });
  await engine.rename(context, id, 'two');
  await engine.rename(context, other, 'one');
  assert.equal((await e.inspect('two')).id, id);
  assert.equal((await e.inspect(other.slice(0, 8))).name, 'one');
});

test('two creations of one name at once: one wins', async () => {
  await using e = await openEngine();
  const config = { image: 'host', network: 'none', command: ['true'], name: 'same' } as const;
  const results = await Promise.allSettled([1, 2, 3].map(async () => e.engine.create(e.context, config)));
  assert.deepEqual(results.map((r) => r.status).toSorted(), ['fulfilled', 'rejected', 'rejected']);
});

test('limits are in force, and can be changed', async () => {
  await using e = await openEngine();
  const id = await e.run({ command: forever, resources: { memory: 32 << 20, pidsLimit: 20, nanoCpus: 5e8 } });
  const limits = async (): Promise<string> => {
    const paths = [
      'memory/memory.limit_in_bytes',
      'memory.max',
      'pids/pids.max',
      'pids.max',
      'cpu/cpu.cfs_quota_us',
      'cpu.max',
    ];
    const x = await e.engine.exec(e.context, id, {
      command: ['sh', '-c', `cd /sys/fs/cgroup; cat ${paths.join(' ')} 2>/dev/null`],
    });
    return (await outputOf(x)).stdout;
  };
  assert.match(await limits(), /^33554432\n20\n50000\b/);
  await e.engine.update(e.context, id, { resources: { memory: 64 << 20, memorySwap: -1, pidsLimit: 30 } });
  assert.match(await limits(), /^67108864\n30\n50000\b/);
  assert.equal((await e.inspect(id)).config.resources?.nanoCpus, 5e8);
});

test('a container that takes too much memory is killed, and inspect says so', async () => {
  await using e = await openEngine();
  const id = await e.run({
    command: ['sh', '-c', 'x=1; while :; do x=$x$x; done'],
    resources: { memory: 16 << 20, memorySwap: 16 << 20 },
  });
  assert.equal(await e.engine.wait(e.context, id), 137);
  assert.equal((await e.inspect(id)).state.oomKilled, true);
});

test('top and stats tell what runs', async () => {
  await using e = await openEngine();
  const id = await e.run({ command: ['sleep', '987'] });
  const { titles, processes } = await e.engine.top(e.context, id);
  assert.deepEqual(titles, ['UID', 'PID', 'PPID', 'C', 'STIME', 'TTY', 'TIME', 'CMD']);
  assert.deepEqual(
    processes.map((p) => [p[0], p.at(-1)]),
    [['root', 'sleep 987']],
  );
  const custom = await e.engine.top(e.context, id, ['-eo', 'pid,comm']);
  assert.deepEqual([custom.titles, custom.processes[0]?.[1]], [['PID', 'COMMAND'], 'sleep']);
  for await (const sample of e.engine.stats(e.context, id)) {
    assert.equal(sample.pids, 1);
    assert.ok(sample.memoryUsage > 0 && sample.cpuSystem > 0 && sample.memoryLimit > 0);
  }
});

test('logs are kept after the end, and followed to it', async () => {
  await using e = await openEngine();
  const id = await e.run({ command: ['sh', '-c', 'for i in 1 2 3; do echo $i; sleep 0.05; done; echo end >&2'] });
  const lines: string[] = [];
  for await (const { stream, line } of e.engine.logs(e.context, id, { follow: true })) lines.push(`${stream} ${line}`);
  assert.deepEqual(lines, ['stdout 1\n', 'stdout 2\n', 'stdout 3\n', 'stderr end\n']);
  const last: string[] = [];
  for await (const { line } of e.engine.logs(e.context, id, { tail: 1 })) last.push(line);
  assert.deepEqual(last, ['end\n']);
  const silent = await e.run({ command: ['echo', 'x'], logDriver: 'none' });
  await assert.rejects(e.engine.logs(e.context, silent).next(), { code: 'unsupported' });
});

test('events tell a life from create to destroy, also to who follows from another process', async () => {
  await using e = await openEngine();
  const since = Date.now();
  const follower = e.other(`
    console.log('ready');
    for await (const { type, action, attributes } of engine.events(context, { since: ${since}, filters: { container: ['told'] } })) {
      console.log(action, attributes.exitCode ?? '');
      if (action === 'destroy') break;
    }
    await engine[Symbol.asyncDispose]();`);
  let told = '';
  follower.stdout?.on('data', (data: Buffer) => {
    told += data.toString();
  });
  const ended = new Promise((resolve) => follower.once('close', resolve));
  while (!told.includes('ready')) await sleep(10);
  const id = await e.run({ name: 'told', command: ['sh', '-c', 'exit 2'], labels: { a: 'b' } });
  // Nobody waits for it: the follower notices the end, and records it.
  while (!told.includes('die')) await sleep(10);
  await e.engine.remove(e.context, id);
  await ended;
  assert.equal(told, 'ready\ncreate \nstart \ndie 2\ndestroy \n');
});

test('namespaces of another container are joined', async () => {
  await using e = await openEngine();
  const donor = await e.run({ name: 'donor', command: ['sleep', '7654'], ipcMode: 'shareable' });
  const { stdout } = await e.output({
    command: ['sh', '-c', 'readlink /proc/self/ns/net /proc/self/ns/ipc; cat /proc/*/cmdline | tr "\\0" " "'],
    network: 'container:donor',
    ipcMode: `container:${donor}`,
    pidMode: 'container:donor',
  });
  const { state } = await e.inspect(donor);
  const x = await e.engine.exec(e.context, donor, { command: ['readlink', '/proc/self/ns/net', '/proc/self/ns/ipc'] });
  const own = (await outputOf(x)).stdout;
  assert.ok(state.pid > 0 && stdout.startsWith(own), `${stdout} against ${own}`);
  assert.match(stdout, /sleep 7654/);
  await e.engine.stop(e.context, donor, { timeout: 0 });
  await assert.rejects(e.output({ command: ['true'], network: 'container:donor' }), { code: 'conflict' });
});

test('explain shows the plan and touches nothing', async () => {
  await using e = await openEngine();
  const plan = await e.engine.explain(e.context, {
    image: 'host',
    command: ['true'],
    user: 'nobody',
    memory: 1,
  } as never);
  assert.ok(
    plan.ops.some(
      (op) => op.op === 'clone' && op.body.some((inner) => inner.op === 'syscall' && inner.name === 'execve'),
    ),
  );
  assert.equal(plan.ops.at(-1)?.op, 'keep');
  assert.deepEqual(await e.engine.list(e.context, { all: true }), []);
  assert.equal(existsSync(join(e.paths.root, 'containers')), false);
});

test('hosts, resolv.conf and hostname are the container’s own', async () => {
  await using e = await openEngine();
  const { stdout } = await e.output({
    command: ['sh', '-c', 'cat /etc/hosts /etc/resolv.conf; hostname'],
    network: 'bridge',
    hostname: 'inner',
    dns: ['192.0.2.1'],
    dnsSearch: ['example.test'],
    extraHosts: ['other:192.0.2.9'],
  });
  for (const line of [
    /^192\.0\.2\.9\tother$/m,
    /^\S+\tinner$/m,
    /^nameserver 192\.0\.2\.1$/m,
    /^search example\.test$/m,
  ]) {
    assert.match(stdout, line);
  }
  const shared = await e.output({ command: ['hostname'], network: 'host' });
  assert.equal(shared.stdout, readFileSync('/proc/sys/kernel/hostname', 'utf8'));
});
