/** What happens to keelson-oci when something dies, hangs or is full: a clear error in time, nothing left behind, and `delete --force` always helps. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, test } from 'node:test';
import { Between } from '../support/between.ts';
import {
  checkLeaks,
  checkResult,
  childrenOf,
  containerName,
  deleteForced,
  files,
  hooked,
  kill,
  nothingLeft,
  plain,
  program,
  traces,
  within,
} from '../support/faults.ts';
import { Oci, ociBinary, type OciResult, planners } from '../support/oci.ts';

await checkLeaks();

describe('a planner', () => {
  test('that is killed at any instant', async () => {
    await using oci = new Oci();
    const bundle = oci.bundle(program, hooked, files);
    for (let turn = 0; turn < 12; turn++) {
      const ms = turn * 5;
      await oci.command('--version');
      const running = oci.command('create', '-b', bundle, containerName);
      await sleep(ms);
      for (const pid of planners()) kill(pid);
      checkResult('the planner', await within(10, `after ${ms} ms`, running), `after ${ms} ms`);
      await deleteForced(oci, `after ${ms} ms`);
    }
  });

  test('that hangs: the caller gives up, says so, and leaves nothing', async () => {
    await using oci = new Oci();
    const bundle = oci.bundle(program, hooked, files);
    for (const [at, seconds] of [
      [0, 20],
      [3, 40],
    ] as const) {
      await using between = await Between.open(oci);
      between.meddle = ({ number }) => (number >= at ? 'hang' : undefined);
      const { code, stderr } = await within(
        seconds,
        `hanging at ${at}`,
        oci.command('create', '-b', bundle, containerName),
      );
      assert.equal(code, 1);
      assert.match(stderr, /level=error msg="keelson-oci: the planner does not answer"/);
      between.meddle = () => {};
      await deleteForced(oci, `hanging at ${at}`);
    }
  });

  test('of another version says so', async () => {
    await using oci = new Oci();
    await using between = await Between.open(oci);
    between.meddle = ({ name, payload }) => {
      if (name === 'call') payload.writeUInt32LE(99, 0);
    };
    const { code, stderr } = await within(10, 'another version', oci.command('state', 'a'));
    assert.equal(code, 1);
    assert.match(stderr, /this planner understands version \d+, the call is of version 99/);
  });

  test('that is sent rubbish says so', async () => {
    await using oci = new Oci();
    await using between = await Between.open(oci);
    for (const spoil of [(payload: Buffer) => payload.fill(0xff, 4), (payload: Buffer) => payload.fill(0xff, 36)]) {
      between.meddle = ({ name, payload }) => {
        if (name === 'call') spoil(payload);
      };
      const { code, stderr } = await within(10, 'rubbish', oci.command('state', 'a'));
      assert.equal(code, 1);
      assert.match(stderr, /the call could not be read/);
    }
    between.meddle = () => {};
    assert.equal((await oci.command('--version')).code, 0, 'others are served');
  });
});

describe('what is full or may not be written', () => {
  test('a full pid limit', async () => {
    const [line = ''] = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((l) => / - cgroup .*\bpids\b| - cgroup2 /.test(l));
    const group = join(line.split(' ')[4] ?? '', 'full');
    mkdirSync(group);
    try {
      await using oci = new Oci();
      await oci.command('--version');
      for (const max of [1, 2, 3]) {
        writeFileSync(join(group, 'pids.max'), String(max));
        for (const change of [plain, hooked]) {
          const bundle = oci.bundle(program, change, files);
          const script = `echo $$ > ${group}/cgroup.procs; exec ${ociBinary} --root ${oci.root} create -b ${bundle} ${containerName}`;
          const { code, stderr } = await within(10, `${max} processes`, shell(script));
          if (max === 1) assert.equal(code, 1);
          if (code !== 0) assert.match(stderr, /EAGAIN/);
          await deleteForced(oci, `${max} processes`);
        }
      }
    } finally {
      rmGroup(group);
    }
  });

  test('no space, no inodes, or no writing at all where the states are', async () => {
    for (const options of ['size=4k', 'nr_inodes=2', 'nr_inodes=3', 'size=8k,nr_inodes=5', 'ro']) {
      await using oci = new Oci();
      mkdirSync(oci.root);
      execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', oci.root]);
      try {
        const bundle = oci.bundle(program);
        for (const words of [['create'], ['run', '-d']]) {
          const { code, stderr } = await within(10, options, oci.command(...words, '-b', bundle, containerName));
          if (options === 'ro' || options.startsWith('nr_inodes')) assert.equal(code, 1, options);
          if (code !== 0) assert.match(stderr, /level=error msg=".*(ENOSPC|EROFS|no space|read-only)/, options);
          if (options !== 'ro') await deleteForced(oci, options);
        }
        const { code } = await within(10, options, oci.command('delete', '--force', containerName));
        assert.equal(code, 0, options);
      } finally {
        execFileSync('umount', [oci.root]);
      }
    }
  });

  test('a container whose states can’t be written any more is still ended', async () => {
    await using oci = new Oci();
    mkdirSync(oci.root);
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', oci.root]);
    try {
      await oci.command('run', '-d', '-b', oci.bundle(program), containerName);
      execFileSync('mount', ['-o', 'remount,ro', oci.root]);
      const { code, stderr } = await oci.command('delete', '--force', containerName);
      assert.equal(code, 1);
      assert.match(stderr, /level=error msg="removing .*EROFS/);
      assert.deepEqual(
        traces(oci).filter((trace) => !/^(state|mount)/.test(trace)),
        [],
      );
      execFileSync('mount', ['-o', 'remount,rw', oci.root]);
      assert.equal((await oci.command('delete', '--force', containerName)).code, 0);
    } finally {
      execFileSync('umount', [oci.root]);
    }
  });

  test('a log that can’t be written is not a reason to hang, or to be silent', async () => {
    await using oci = new Oci();
    const fifo = join(oci.directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
    for (const log of [fifo, '/nonexistent/log', '/proc/version', oci.directory]) {
      const { code, stderr } = await within(5, log, oci.command('--log', log, 'state', 'nobody'));
      assert.equal(code, 1);
      assert.match(stderr, /container does not exist|opening the log file/, log);
    }
  });

  test('a FIFO or an endless file in the place of config.json is refused at once', async () => {
    await using oci = new Oci();
    const bundle = oci.bundle(program);
    const config = join(bundle, 'config.json');
    for (const make of [
      () => execFileSync('mkfifo', [config]),
      () => execFileSync('ln', ['-s', '/dev/zero', config]),
      () => mkdirSync(config),
      () => execFileSync('truncate', ['-s', '100M', config]),
    ]) {
      rmSync(config, { recursive: true, force: true });
      make();
      const { code, stderr } = await within(5, 'config.json', oci.command('create', '-b', bundle, containerName));
      assert.equal(code, 1);
      assert.match(stderr, /config\.json: it is (not a regular file|larger than 16 MiB)/);
      await nothingLeft(oci, 'config.json');
    }
  });
});

test('a state.json that is cut off or not one: every command says so, and delete --force removes what there is', async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(program);
  for (const content of [
    '',
    '{',
    'null',
    '[]',
    '7',
    '{"id":"faulty"}',
    '{"id":"faulty","init_process_pid":"1"}',
    '\0'.repeat(4096),
    undefined,
  ]) {
    assert.equal((await oci.command('run', '-d', '-b', bundle, containerName)).code, 0);
    const file = join(oci.root, containerName, 'state.json');
    const whole = readFileSync(file, 'utf8');
    writeFileSync(file, content ?? whole.slice(0, whole.length / 2));
    for (const words of [['state'], ['kill'], ['delete'], ['start'], ['pause'], ['ps'], ['exec']]) {
      const { code, stderr } = await oci.command(...words, containerName, ...(words[0] === 'exec' ? ['true'] : []));
      assert.equal(code, words[0] === 'exec' ? 255 : 1);
      assert.match(
        stderr,
        /state\.json is not (a container's state|the state of a container)/,
        `${words.join(' ')} ${content}`,
      );
    }
    assert.equal((await oci.command('list')).code, 0, 'the others are listed');
    await deleteForced(oci, JSON.stringify(content));
  }
});

test('signals that interrupt system calls don’t make them fail', async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(program, hooked, files);
  for (const words of [
    ['create', '-b', bundle, containerName],
    ['start', containerName],
    ['exec', containerName, 'true'],
    ['kill', containerName, 'KILL'],
    ['delete', '-f', containerName],
  ]) {
    const child = spawn(ociBinary, ['--root', oci.root, ...words], { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (piece: string) => (stderr += piece));
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
    const pid = child.pid ?? 0;
    let stopped = 0;
    while (child.exitCode === null && child.signalCode === null) {
      for (const one of [pid, ...childrenOf(pid)]) {
        for (const signal of ['SIGSTOP', 'SIGCONT', 'SIGURG', 'SIGWINCH'] as const) {
          try {
            process.kill(one, signal);
            stopped++;
          } catch {
            // it has ended
          }
        }
      }
      await sleep(1);
    }
    assert.equal(await ended, 0, `${words[0]}: ${stderr}`);
    assert.ok(stopped > 4, `${words[0]}: ${stopped} signals`);
  }
  await nothingLeft(oci, 'signals');
});

function shell(script: string): Promise<OciResult> {
  const child = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (piece: string) => (output[name] += piece));
  }
  return new Promise((resolve) =>
    child.once('exit', (code) => setTimeout(() => resolve({ code: code ?? 128, ...output }), 30)),
  );
}

function rmGroup(group: string): void {
  for (let tries = 0; ; tries++) {
    try {
      execFileSync('rmdir', [group], { stdio: 'ignore' });
      return;
    } catch (error) {
      if (tries > 20) throw error;
    }
  }
}
