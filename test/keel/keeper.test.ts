import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { isKeelsonError } from '../../src/ground/errors.ts';
import { Keel, type Kept } from '../../src/kernel/keel.ts';
import { attach, kill, type KeeperAttachment, reopenLog, status, waitExit } from '../../src/kernel/keeper.ts';
import { Folder, type KeepOptions, keepPlan, parentOf, until } from './keep-plan.ts';

const keel = Keel.spawn();
after(() => keel.close());

type Options = Omit<KeepOptions, 'argv' | 'folder'>;

async function keep(folder: Folder, script: string, options: Options = {}): Promise<Kept> {
  return folder.track(keel.keep(keepPlan({ argv: ['/bin/sh', '-c', script], folder: folder.path, ...options })));
}

/** Runs to the end: what came out, and the exit code. */
async function run(
  folder: Folder,
  script: string,
  options: Options = {},
): Promise<{ code: number; out: string; err: string }> {
  const kept = await keep(folder, script, options);
  await using attached = await attach(folder.socket, { stdin: true, stdout: true, stderr: true });
  await kept.start();
  const { out, err } = await collect(attached);
  const code = await attached.exit;
  await attached.closed;
  return { code, out: out.toString(), err: err.toString() };
}

async function collect(attached: KeeperAttachment): Promise<{ out: Buffer; err: Buffer }> {
  const parts = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  for await (const { stream, data } of attached.output) parts[stream].push(data);
  return { out: Buffer.concat(parts.stdout), err: Buffer.concat(parts.stderr) };
}

const gone = (pid: number): boolean => !existsSync(`/proc/${pid}`);

describe('a kept process', () => {
  test('runs, and its exit is recorded', async () => {
    using folder = new Folder();
    const before = BigInt(Date.now()) * 1_000_000n;
    const snapshots = ['/proc/sys/kernel/ostype', '/nonexistent'];
    const result = await run(folder, 'echo out; echo err >&2; exit 7', { snapshots });
    assert.deepEqual(result, { code: 7, out: 'out\n', err: 'err\n' });
    const record = folder.record();
    assert.equal(record.exitCode, 7);
    assert.equal(record.signal, 0);
    assert.ok(before <= BigInt(record.startedAt) && BigInt(record.startedAt) <= BigInt(record.finishedAt));
    assert.deepEqual(record.snapshots, { '/proc/sys/kernel/ostype': 'Linux\n', '/nonexistent': null });
    assert.deepEqual(record.exitPlanErrors, []);
    assert.deepEqual(readdirSync(folder.path).sort(), ['exit', 'log']);
    const log = folder.log();
    assert.deepEqual(log.map((l) => [l.stream, l.log]).sort(), [
      ['stderr', 'err\n'],
      ['stdout', 'out\n'],
    ]);
  });

  test('ended by a signal has 128 + n', async () => {
    using folder = new Folder();
    assert.equal((await run(folder, 'kill -KILL $$')).code, 137);
    assert.deepEqual([folder.record().exitCode, folder.record().signal], [137, 9]);
  });

  test('waits at the gate: nothing runs before start', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'echo x > "$0"'.replace('"$0"', join(folder.path, 'ran')));
    assert.equal((await status(folder.socket)).state, 'waiting');
    assert.equal((await status(folder.socket)).pid, kept.pid);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(!existsSync(join(folder.path, 'ran')));
    const exit = waitExit(folder.socket);
    await kept.start();
    assert.deepEqual(await exit, { exitCode: 0, signal: 0 });
    assert.ok(existsSync(join(folder.path, 'ran')));
  });

  test('abandoned, it is undone: no record, no socket, no process', async () => {
    using folder = new Folder();
    const marker = join(folder.path, 'undone');
    const kept = await keep(folder, 'true', { exitPlan: (b) => b.sys('mkdirat', [-100, marker, 0o700]) });
    kept.abandon();
    await until('the keeper leaves', () => gone(kept.keeperPid) && gone(kept.pid));
    assert.ok(existsSync(marker));
    assert.ok(!existsSync(folder.socket) && !existsSync(join(folder.path, 'exit')));
    await assert.rejects(kept.start(), (e) => isKeelsonError(e, 'canceled'));
  });

  test('a program that can’t be executed fails the start, and all is undone', async () => {
    using folder = new Folder();
    const marker = join(folder.path, 'undone');
    const plan = keepPlan({
      argv: ['/nonexistent/program'],
      folder: folder.path,
      exitPlan: (b) => b.sys('mkdirat', [-100, marker, 0o700]),
    });
    const kept = await folder.track(keel.keep(plan));
    await using attached = await attach(folder.socket, { stdout: true });
    await assert.rejects(kept.start(), (error) => {
      return isKeelsonError(error, 'command-not-found') && error.message.startsWith('executing: execve: ENOENT');
    });
    assert.ok(existsSync(marker)); // before the failure is told
    assert.ok(!existsSync(folder.socket));
    await attached.closed;
    await assert.rejects(attached.exit, (e) => isKeelsonError(e, 'unavailable'));
    await until('both leave', () => gone(kept.keeperPid) && gone(kept.pid));
  });

  test('a child that fails before the gate fails the plan with its reason', async () => {
    using folder = new Folder();
    const plan = keepPlan({
      argv: ['/bin/true'],
      folder: folder.path,
      inChild: (b) => b.sys('chdir', ['/nonexistent'], { doing: 'entering' }),
    });
    await assert.rejects(
      keel.keep(plan).then((kept) => kept.start()),
      /entering: chdir: ENOENT/,
    );
    await until('the socket goes', () => !existsSync(folder.socket));
  });

  test('a child that is killed at the gate is told as such', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'true');
    process.kill(kept.pid, 'SIGKILL');
    await until('the keeper leaves', () => gone(kept.keeperPid));
    await assert.rejects(kept.start(), /keep: ECHILD .*: the process ended before it was started/);
  });

  test('keep that can’t be is undone, too', async () => {
    for (const [what, options, message] of [
      ['log', { logPath: '/nonexistent/log' }, /keep: ENOENT/],
      ['socket', {}, /keep: EADDRINUSE/],
    ] as const) {
      using folder = new Folder();
      if (what === 'socket') writeFileSync(folder.socket, '');
      const marker = join(folder.path, 'undone');
      const exitPlan: Options['exitPlan'] = (b) => b.sys('mkdirat', [-100, marker, 0o700]);
      await assert.rejects(keep(folder, 'true', { ...options, exitPlan }), message);
      assert.ok(existsSync(marker), what);
      assert.equal(existsSync(folder.socket), what === 'socket');
    }
  });

  test('its exit plan is run to the end, and failures are in the record', async () => {
    using folder = new Folder();
    const made = join(folder.path, 'made');
    await run(folder, 'true', {
      exitPlan(b) {
        b.doing('failing');
        b.sys('rmdir', ['/nonexistent/a']);
        b.sys('rmdir', ['/nonexistent/b'], { on: { ENOENT: 'continue' } });
        b.sys('mkdirat', [-100, made, 0o700]);
        b.write(12345, 'x');
      },
    });
    assert.ok(existsSync(made));
    const errors = folder.record().exitPlanErrors;
    assert.deepEqual(
      errors.map((e) => e.errno),
      [2, 9],
    );
  });

  test('its keeper holds nothing that it need not', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'read x', { stdin: true });
    await kept.start();
    const wanted = '/dev/null /dev/null /dev/null /log anon_inode pipe pipe pipe socket';
    let kinds = '';
    const look = (): boolean => {
      const links = readdirSync(`/proc/${kept.keeperPid}/fd`).map((fd) =>
        readlinkSync(`/proc/${kept.keeperPid}/fd/${fd}`),
      );
      kinds = links
        .map((l) => l.replace(/:?\[.*/, '').replace(folder.path, ''))
        .sort()
        .join(' ');
      return kinds === wanted;
    };
    await until('its channel is closed', look).catch(() => assert.equal(kinds, wanted));
    assert.equal(readlinkSync(`/proc/${kept.keeperPid}/cwd`), '/');
    assert.equal(statSync(folder.socket).mode & 0o777, 0o600);
    await kill(folder.socket, 9);
    await until('it ends', () => gone(kept.keeperPid));
  });

  test('inherits only the standard streams', async () => {
    using folder = new Folder();
    const { out } = await run(folder, 'ls /proc/self/fd');
    assert.deepEqual(out.trim().split('\n'), ['0', '1', '2', '3']); // 3 is ls's own
  });

  test('children that its plan left behind are reaped', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'sleep 0.2', {
      exitPlan: (b) => {
        b.clone({ flags: 0n }, () => b.sys('getpid', []));
      },
    });
    await kept.start();
    await until('it ends', () => gone(kept.keeperPid));
    assert.equal(folder.record().exitCode, 0);
  });
});

describe('stdio', () => {
  test('input arrives whole and in order, however slowly it is read', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'sleep 0.1; cat | (sleep 0.1; cat)', { stdin: true, log: false });
    await using attached = await attach(folder.socket, { stdin: true, stdout: true });
    await kept.start();
    const sent = randomBytes(5 << 20);
    const writing = attached.write(sent).then(() => attached.closeStdin());
    const { out } = await collect(attached);
    await writing;
    assert.ok(out.equals(sent));
    assert.equal(await attached.exit, 0);
  });

  test('input that was sent before the client left still arrives', async () => {
    using folder = new Folder();
    const result = join(folder.path, 'result');
    const kept = await keep(folder, `sleep 0.2; cat > ${result}`, { stdin: true, stdinOnce: true });
    const attached = await attach(folder.socket, { stdin: true });
    await kept.start();
    const sent = randomBytes(200_000);
    await attached.write(sent);
    await until('it is sent', () => status(folder.socket).then(() => true));
    await attached[Symbol.asyncDispose]();
    await until('the end', () => gone(kept.keeperPid));
    assert.ok(readFileSync(result).subarray(0, 65536).equals(sent.subarray(0, 65536)));
  });

  test('with stdinOnce input ends when the client goes, without it others go on', async () => {
    for (const stdinOnce of [true, false]) {
      using folder = new Folder();
      const kept = await keep(folder, 'cat; echo end', { stdin: true, stdinOnce });
      await kept.start();
      const first = await attach(folder.socket, { stdin: true });
      await first.write(Buffer.from('one\n'));
      await until('it is logged', () => folder.log().length === 1);
      await first[Symbol.asyncDispose]();
      if (stdinOnce) {
        await until('the end', () => gone(kept.keeperPid));
        assert.deepEqual(
          folder.log().map((l) => l.log),
          ['one\n', 'end\n'],
        );
      } else {
        await using second = await attach(folder.socket, { stdin: true, stdout: true });
        await second.write(Buffer.from('two\n'));
        second.closeStdin();
        assert.equal((await collect(second)).out.toString(), 'two\nend\n');
      }
    }
  });

  test('input to a process that closed its own is not an error', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'exec 0<&-; sleep 0.3', { stdin: true });
    await using attached = await attach(folder.socket, { stdin: true });
    await kept.start();
    for (let i = 0; i < 40; i++) await attached.write(Buffer.alloc(64 * 1024));
    assert.equal(await attached.exit, 0);
    await assert.rejects(
      async () => {
        await attached.closed;
        await attached.write(Buffer.from('x'));
      },
      (e) => isKeelsonError(e, 'conflict'),
    );
  });

  test('several clients see the same, each what it asked for', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'echo out; echo err >&2');
    const wants = [{ stdout: true }, { stderr: true }, { stdout: true, stderr: true }, {}];
    const attached = await Promise.all(wants.map((w) => attach(folder.socket, w)));
    await kept.start();
    const seen = await Promise.all(
      attached.map(async (a) => `${Object.values(await collect(a)).join('')}${await a.exit}`),
    );
    assert.deepEqual(seen, ['out\n0', 'err\n0', 'out\nerr\n0', '0']);
  });

  test('a client that does not read holds the process up, and gets everything', async () => {
    using folder = new Folder();
    const progress = join(folder.path, 'progress');
    const script = `i=0; while [ $i -lt 200 ]; do head -c 65536 /dev/zero; i=$((i+1)); echo $i > ${progress}; done`;
    const kept = await keep(folder, script, { log: false });
    await using attached = await attach(folder.socket, { stdout: true });
    await kept.start();
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.ok(Number(readFileSync(progress, 'utf8')) < 150);
    const { Rss } = memory(kept.keeperPid);
    if (!process.env['KEELSON_KEEL']) assert.ok(Rss < 3000, `${Rss} kB`);
    assert.equal((await collect(attached)).out.length, 200 * 65536);
    assert.equal(await attached.exit, 0);
  });

  test('a client that never reads is dropped after the time it was given', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'head -c 20000000 /dev/zero', { log: false });
    await using attached = await attach(folder.socket, { stdout: true, stallMs: 200 });
    await kept.start();
    assert.deepEqual(await waitExit(folder.socket), { exitCode: 0, signal: 0 });
    await assert.rejects(Promise.all([attached.exit, collect(attached)]), (e) => isKeelsonError(e, 'unavailable'));
  });

  test('the output of one that exits while its client is slow is not lost', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'head -c 900000 /dev/zero; echo end', { log: false });
    await using attached = await attach(folder.socket, { stdout: true });
    await kept.start();
    await until('the record', () => existsSync(join(folder.path, 'exit')));
    const { out } = await collect(attached);
    assert.equal(out.length, 900004);
    assert.equal(out.toString('latin1', 900000), 'end\n');
  });

  test('what grandchildren hold open does not keep the exit from being recorded', async () => {
    using folder = new Folder();
    const begin = Date.now();
    assert.deepEqual(await run(folder, '(sleep 4; echo late) & echo soon'), { code: 0, out: 'soon\n', err: '' });
    assert.ok(Date.now() - begin < 3500);
  });

  test('standard error and output of a process without them are closed', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'exec >&- 2>&-; read x; exit 4', { stdin: true });
    await using attached = await attach(folder.socket, { stdin: true, stdout: true });
    await kept.start();
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(cpuTicks(kept.keeperPid) < 4); // it doesn't spin
    await attached.write(Buffer.from('x\n'));
    assert.equal(await attached.exit, 4);
  });
});

describe('a terminal', () => {
  test('is one: size, echo, end of input', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'stty size; read a; stty size; echo got $a; tty', { terminal: true });
    await using attached = await attach(folder.socket, { stdin: true, stdout: true });
    attached.resize(91, 31);
    await kept.start();
    await until('the first size', () => folder.log().length > 0);
    attached.resize(120, 40);
    await attached.write(Buffer.from('words\r'));
    const { out } = await collect(attached);
    assert.match(out.toString(), /^31 91\r\nwords\r\n40 120\r\ngot words\r\n\/dev\/pts\/\d+\r\n$/);
    assert.equal(await attached.exit, 0);
    assert.equal(folder.log()[0]?.log, '31 91\r\n');
  });

  test('may be closed by all and opened again', async () => {
    using folder = new Folder();
    const script = 't=$(tty); exec <&- >&- 2>&-; sleep 0.3; exec >$t; echo back; exit 4';
    const kept = await keep(folder, script, { terminal: true });
    await using attached = await attach(folder.socket, { stdout: true });
    await kept.start();
    assert.equal((await collect(attached)).out.toString(), 'back\r\n');
    assert.equal(await attached.exit, 4);
  });

  test('carries signals of its keys', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'trap "echo caught; exit 5" INT; echo ready; while :; do sleep 0.05; done', {
      terminal: true,
    });
    await using attached = await attach(folder.socket, { stdin: true });
    await kept.start();
    await until('ready', () => folder.log().length > 0);
    await attached.write(Buffer.from([3]));
    assert.equal(await attached.exit, 5);
  });

  test('there is none to resize for a process without', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'read x', { stdin: true });
    await kept.start();
    await using attached = await attach(folder.socket, { stdin: true });
    attached.resize(80, 25);
    attached.closeStdin();
    assert.equal(await attached.exit, 1);
  });
});

describe('control', () => {
  test('kill reaches the process, and only while there is one', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'trap "exit 9" TERM; echo ready; while :; do sleep 0.05; done');
    await assert.rejects(kill(folder.socket, 15), (e) => isKeelsonError(e, 'exhausted')); // EAGAIN: not started
    await kept.start();
    await until('ready', () => folder.log().length > 0);
    const exit = waitExit(folder.socket);
    await kill(folder.socket, 15);
    assert.deepEqual(await exit, { exitCode: 9, signal: 0 });
    await until('the socket goes', () => !existsSync(folder.socket));
    await assert.rejects(kill(folder.socket, 15), (e) => isKeelsonError(e, 'not-found'));
    await assert.rejects(kill(folder.socket, 15), /there is no keeper at/);
  });

  test('a path longer than a socket address is no obstacle', async () => {
    using folder = new Folder();
    const long = join(folder.path, 'd'.repeat(120), 'e'.repeat(120));
    mkdirSync(long, { recursive: true });
    const kept = await folder.track(keel.keep(keepPlan({ argv: ['/bin/sh', '-c', 'exit 3'], folder: long })));
    const exit = waitExit(join(long, 'socket'));
    await until('connected', () => status(join(long, 'socket')).then(() => true));
    await kept.start();
    assert.equal((await exit).exitCode, 3);
  });

  test('the exit command runs when nobody acknowledges, detached', async () => {
    using folder = new Folder();
    const report = join(folder.path, 'report');
    const exitCommand = [
      '/bin/sh',
      '-c',
      `cat ${folder.path}/exit > ${report}.1; ls /proc/$$/fd > ${report}.2; ps -o sid= -p $$ >> ${report}.2; mv ${report}.2 ${report}`,
    ];
    const kept = await keep(folder, 'exit 6', { exitCommand });
    await kept.start();
    await until('the command', () => existsSync(report));
    assert.equal((JSON.parse(readFileSync(`${report}.1`, 'utf8')) as { exitCode: number }).exitCode, 6);
    assert.ok(!existsSync(folder.socket));
  });

  test('a controller that acknowledges replaces the exit command; one that leaves does not', async () => {
    for (const acknowledges of [true, false]) {
      using folder = new Folder();
      const marker = join(folder.path, 'marker');
      const kept = await keep(folder, 'read x', { stdin: true, exitCommand: ['/bin/mkdir', marker] });
      const attached = await attach(folder.socket, { stdin: true, control: true });
      await kept.start();
      attached.closeStdin();
      assert.equal(await attached.exit, 1);
      if (acknowledges) attached.acknowledge();
      else await attached[Symbol.asyncDispose]();
      await until('the keeper leaves', () => gone(kept.keeperPid));
      if (!acknowledges) await until('the command', () => existsSync(marker));
      else await new Promise((resolve) => setTimeout(resolve, 50));
      assert.equal(existsSync(marker), !acknowledges);
    }
  });

  test('garbage on the socket only ends its connection', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'read x; exit 2', { stdin: true });
    await kept.start();
    const head = (size: number, type: number): Buffer => {
      const bytes = Buffer.alloc(12);
      bytes.writeUInt32LE(size, 0);
      bytes.writeUInt32LE(type, 8);
      return bytes;
    };
    const hostile = [randomBytes(4096), head(0xffffffff, 33), head(0, 32), head(0, 999), head(0, 0), head(0, 33)];
    for (const bytes of hostile) {
      await new Promise<void>((resolve) => {
        const socket = connect(folder.socket, () => socket.write(bytes));
        socket.on('error', () => {});
        socket.on('close', () => resolve());
        socket.resume();
      });
    }
    const many = await Promise.all(Array.from({ length: 80 }, () => attach(folder.socket, {}).catch(() => undefined)));
    assert.equal(many.filter(Boolean).length, 64);
    for (const attached of many) await attached?.[Symbol.asyncDispose]();
    await using last = await attach(folder.socket, { stdin: true });
    last.closeStdin();
    assert.equal(await last.exit, 2);
  });
});

describe('the log', () => {
  const replaced = (bytes: Buffer): string => bytes.toString('utf8');

  test('holds any bytes, as JSON', async () => {
    using folder = new Folder();
    const source = join(folder.path, 'source');
    // Lines of every kind of byte, of text beyond ASCII, and of what only looks like UTF-8.
    const lines: Buffer[] = [];
    for (let i = 0; i < 300; i++)
      lines.push(Buffer.from(randomBytes(1 + ((i * 7) % 400)).map((b) => (b === 10 ? 11 : b))));
    lines.push(Buffer.from('grüße 你好 🚀 \u2028 \u2029 "quoted" \\ <b>&amp;</b> \t\r\u007f'));
    lines.push(Buffer.from([0xc0, 0x80, 0xed, 0xa0, 0x80, 0xf4, 0x90, 0x80, 0x80, 0xe2, 0x82, 0xff, 0xf0, 0x9f]));
    writeFileSync(source, Buffer.concat(lines.flatMap((l) => [l, Buffer.from('\n')])));
    assert.equal((await run(folder, `cat ${source}`)).code, 0);
    const log = folder.log();
    assert.equal(log.length, lines.length);
    // Where several bytes are no UTF-8, Go (and docker) write a mark for each byte, JavaScript one for what could have been a character.
    const normal = (text: string): string => text.replace(/\ufffd+/g, '\ufffd');
    lines.forEach((line, i) => assert.equal(normal(log[i]?.log ?? ''), normal(`${replaced(line)}\n`)));
    assert.equal(log.at(-1)?.log, `${'\ufffd'.repeat(14)}\n`);
  });

  test('is byte for byte what docker writes', async () => {
    using folder = new Folder();
    await run(folder, `printf 'a\\tb\\001\\033<i>&"\\\\\\r\\342\\200\\250\\n'`);
    const [line = ''] = readFileSync(join(folder.path, 'log'), 'utf8').split('\n');
    const expected = String.raw`{"log":"a\u0009b\u0001\u001b\u003ci\u003e\u0026\"\\\r\u2028\n","stream":"stdout","time":"`;
    assert.equal(line.slice(0, expected.length), expected);
    assert.match(line.slice(expected.length), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z"\}$/);
  });

  test('cuts lines at 16 KiB, and leaves the last one as it was', async () => {
    for (const [length, lengths] of [
      [16383, [16384]],
      [16384, [16384, 1]],
      [16385, [16384, 2]],
      [40000, [16384, 16384, 7233]],
    ] as const) {
      using folder = new Folder();
      await run(folder, `head -c ${length} /dev/zero | tr '\\0' x; echo; printf end`);
      const log = folder.log().map((l) => l.log);
      assert.deepEqual([...log.map((l) => l.length)], [...lengths, 3]);
      assert.equal(log.join(''), `${'x'.repeat(length)}\nend`);
    }
  });

  test('keeps lines whole that come in pieces, of both streams', async () => {
    using folder = new Folder();
    await run(folder, 'for i in 1 2 3; do printf a$i; sleep 0.02; printf b$i >&2; sleep 0.02; done; echo; echo >&2');
    const log = folder.log();
    assert.deepEqual(
      log.map((l) => [l.stream, l.log]),
      [
        ['stdout', 'a1a2a3\n'],
        ['stderr', 'b1b2b3\n'],
      ],
    );
  });

  test('a character cut in two by a write is one in the log', async () => {
    using folder = new Folder();
    await run(folder, `printf '\\303'; sleep 0.05; printf '\\274\\n'`);
    assert.equal(folder.log()[0]?.log, 'ü\n');
  });

  test('rotates at its size, and keeps as many files as told', async () => {
    using folder = new Folder();
    const count = 5000;
    const result = await run(folder, `seq 1 ${count}`, { log: { maxSize: 50_000, maxFiles: 3 } });
    assert.equal(result.code, 0);
    assert.deepEqual(readdirSync(folder.path).sort(), ['exit', 'log', 'log.1', 'log.2']);
    const kept = ['log.2', 'log.1', 'log'].flatMap((name) => folder.log(name).map((l) => Number(l.log)));
    assert.equal(kept.at(-1), count);
    kept.forEach((n, i) => assert.equal(n, (kept[0] ?? 0) + i));
    for (const name of ['log.1', 'log.2']) {
      const { size } = statSync(join(folder.path, name));
      assert.ok(size >= 50_000 && size < 50_100, `${size}`);
    }
  });

  test('with one file begins anew', async () => {
    using folder = new Folder();
    await run(folder, 'seq 1 3000', { log: { maxSize: 20_000, maxFiles: 1 } });
    assert.deepEqual(readdirSync(folder.path).sort(), ['exit', 'log']);
    assert.equal(folder.log().at(-1)?.log, '3000\n');
    assert.ok(statSync(join(folder.path, 'log')).size < 20_100);
  });

  test('is opened anew when asked to', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'while read x; do echo $x; done', { stdin: true });
    await using attached = await attach(folder.socket, { stdin: true });
    await kept.start();
    await attached.write(Buffer.from('one\n'));
    await until('one', () => folder.log().length === 1);
    const { renameSync } = await import('node:fs');
    renameSync(join(folder.path, 'log'), join(folder.path, 'old'));
    await reopenLog(folder.socket);
    await attached.write(Buffer.from('two\n'));
    await until('two', () => folder.log().length === 1);
    assert.equal(folder.log('old')[0]?.log, 'one\n');
    attached.closeStdin();
    await attached.exit;
  });

  test('a full disk costs lines, not the container', async () => {
    using folder = new Folder();
    using disk = new Folder();
    const { execFileSync } = await import('node:child_process');
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', disk.path]);
    try {
      const logPath = join(disk.path, 'log');
      const kept = await keep(folder, 'seq 1 20000; read x; echo last', { logPath, stdin: true });
      await using attached = await attach(folder.socket, { stdin: true, stdout: true });
      await kept.start();
      const reading = collect(attached);
      await until('lines are dropped', async () => (await status(folder.socket)).droppedLogBytes > 0);
      attached.closeStdin();
      assert.ok((await reading).out.toString().endsWith('20000\nlast\n'));
      assert.equal(await attached.exit, 0);
      const text = readFileSync(logPath, 'utf8');
      assert.ok(text.endsWith('}\n')); // no half record
      for (const line of text.trim().split('\n')) JSON.parse(line);
      assert.ok(folder.record().droppedLogBytes > 0);
    } finally {
      execFileSync('umount', ['-l', disk.path]);
    }
  });

  test('many small writes are all recorded, at a bearable price', async () => {
    using folder = new Folder();
    const result = await run(folder, 'i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done');
    assert.equal(result.code, 0);
    folder.log().forEach((l, i) => assert.equal(l.log, `${i}\n`));
  });
});

describe('survival', () => {
  test('the zygote killed, the container goes on, and its end is recorded', async () => {
    using folder = new Folder();
    const own = Keel.spawn();
    const kept = await folder.track(
      own.keep(keepPlan({ argv: ['/bin/sh', '-c', 'read x; echo $x; exit 3'], folder: folder.path, stdin: true })),
    );
    await kept.start();
    process.kill(parentOf(kept.keeperPid), 'SIGKILL');
    await until('it is an orphan', () => parentOf(kept.keeperPid) !== process.pid);
    await using attached = await attach(folder.socket, { stdin: true, stdout: true });
    await attached.write(Buffer.from('after\n'));
    assert.equal((await collect(attached)).out.toString(), 'after\n');
    assert.equal(await attached.exit, 3);
    assert.equal(folder.record().exitCode, 3);
    await own.close();
  });

  test('the zygote killed before the start, all is undone', async () => {
    using folder = new Folder();
    const marker = join(folder.path, 'undone');
    const own = Keel.spawn();
    const kept = await folder.track(
      own.keep(
        keepPlan({
          argv: ['/bin/true'],
          folder: folder.path,
          exitPlan: (b) => b.sys('mkdirat', [-100, marker, 0o700]),
        }),
      ),
    );
    process.kill(parentOf(kept.keeperPid), 'SIGKILL');
    await until('both are gone', () => gone(kept.keeperPid) && gone(kept.pid));
    assert.ok(existsSync(marker) && !existsSync(folder.socket));
    await assert.rejects(kept.start(), (e) => isKeelsonError(e, 'unavailable'));
    await own.close();
  });

  test('the client ended, the container goes on; the zygote goes', async () => {
    using folder = new Folder();
    const { spawn } = await import('node:child_process');
    const url = (name: string): string => JSON.stringify(new URL(name, import.meta.url).href);
    const script = `
      import { Keel } from ${url('../../src/kernel/keel.ts')};
      import { keepPlan } from ${url('./keep-plan.ts')};
      const kept = await Keel.spawn().keep(keepPlan({ argv: ['/bin/sh', '-c', 'read x; exit 8'], folder: ${JSON.stringify(folder.path)}, stdin: true }));
      await kept.start();
      console.log(kept.keeperPid);
      process.kill(process.pid, 'SIGKILL');`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (bytes: Buffer) => (text += bytes.toString()));
    // The pipe closes although the container runs: its keeper holds nothing of the client's.
    await new Promise((resolve) => child.once('close', resolve));
    assert.equal((await status(folder.socket)).keeperPid, Number(text));
    await using attached = await attach(folder.socket, { stdin: true });
    attached.closeStdin();
    assert.equal(await attached.exit, 8);
    await attached.closed;
  });

  test('the keeper killed before the start, the process goes with it', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'true');
    process.kill(kept.keeperPid, 'SIGKILL');
    await until('the process is gone', () => gone(kept.pid));
    await assert.rejects(kept.start(), /its executor was ended by signal 9/);
  });

  test('the keeper killed later, clients see the end of their connection', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'sleep 60');
    await using attached = await attach(folder.socket, { stdout: true });
    await kept.start();
    process.kill(kept.keeperPid, 'SIGKILL');
    await assert.rejects(attached.exit, (e) => isKeelsonError(e, 'unavailable'));
    await assert.rejects(status(folder.socket), (e) => isKeelsonError(e, 'not-found')); // a stale socket is no keeper
    process.kill(kept.pid, 'SIGKILL'); // a plan would have asked for the parent's death signal
  });
});

describe('relays', () => {
  test('connections to a listening socket reach their target, both ways, many at once', async () => {
    using folder = new Folder();
    const server: Server = createServer({ allowHalfOpen: true }, (socket: Socket) => {
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    assert.ok(address && typeof address === 'object');
    const to = Buffer.alloc(16);
    to.writeUInt16LE(2, 0);
    to.writeUInt16BE(address.port, 2);
    to.set([127, 0, 0, 1], 4);
    const bound = Buffer.alloc(28);
    bound.writeUInt16LE(10, 0);
    bound[23] = 1; // ::1
    let port = 0;
    const kept = await folder.track(
      keel.keep(
        keepPlan({
          argv: ['/bin/sh', '-c', 'read x'],
          folder: folder.path,
          stdin: true,
          relays(b) {
            const listen = b.sys('socket', [10, 1 | 0o2000000, 0]);
            b.sys('bind', [listen, b.blob(bound), 28]);
            b.sys('listen', [listen, 64]);
            const name = b.blob(28);
            b.sys('getsockname', [listen, name, b.blob(Buffer.from([28, 0, 0, 0]))]);
            b.report(1, [], [name]);
            return [{ listen, to }];
          },
        }),
        { onReport: (m) => (port = m.blobs[0]?.readUInt16BE(2) ?? 0) },
      ),
    );
    await kept.start();
    const exchange = async (size: number): Promise<void> => {
      const sent = randomBytes(size);
      const parts: Buffer[] = [];
      const socket = connect({ port, host: '::1', allowHalfOpen: true });
      socket.end(sent);
      for await (const part of socket) parts.push(part as Buffer);
      assert.ok(Buffer.concat(parts).equals(sent));
    };
    await Promise.all(Array.from({ length: 30 }, (_, i) => exchange(i === 0 ? 3 << 20 : 1000 * i)));
    const open = Array.from({ length: 200 }, () => connect({ port, host: '::1' }).on('error', () => {}));
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.ok(readdirSync(`/proc/${kept.keeperPid}/fd`).length < 800);
    for (const socket of open) socket.destroy();
    await exchange(5000);
    await using attached = await attach(folder.socket, { stdin: true });
    attached.closeStdin();
    await attached.exit;
    server.close();
  });
});

describe('its price', () => {
  test('an idle keeper costs little memory and no time', async () => {
    using folder = new Folder();
    const kept = await keep(folder, 'seq 1 100000; read x', { stdin: true });
    await kept.start();
    await until('the log', () => folder.log().length === 100000);
    await new Promise((resolve) => setTimeout(resolve, 1200));
    const before = cpuTicks(kept.keeperPid);
    const { Pss, Pss_Anon } = memory(kept.keeperPid);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(cpuTicks(kept.keeperPid), before);
    if (!process.env['KEELSON_KEEL']) assert.ok(Pss < 300, `PSS ${Pss} kB (anonymous ${Pss_Anon} kB)`);
    await kill(folder.socket, 9);
    await until('it ends', () => gone(kept.keeperPid));
  });
});

function memory(pid: number): Record<'Rss' | 'Pss' | 'Pss_Anon', number> {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Object.fromEntries([...text.matchAll(/^(\w+):\s+(\d+) kB/gm)].map(([, k, v]) => [k, Number(v)])) as never;
}

function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}
