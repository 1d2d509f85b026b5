import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { finished, testEngine } from '../support/engine.ts';
import { onTerminal } from '../support/terminal.ts';

const none = ['--network', 'none'] as const;

test('run shows both streams, each where it belongs, and ends with the exit code', async () => {
  await using e = await testEngine();
  const result = await e.cli(['run', '--rm', ...none, 'host', 'sh', '-c', 'echo out; echo err >&2; exit 7']);
  assert.deepEqual(result, { code: 7, stdout: 'out\n', stderr: 'err\n' });
});

test('exit codes of what could not run: 125, 126, 127, and 128 and the signal', async () => {
  await using e = await testEngine();
  const run = async (...args: string[]): Promise<[number, string]> => {
    const { code, stderr } = await e.cli(['run', '--rm', ...none, ...args]);
    return [code, stderr];
  };
  assert.deepEqual(await run('host', 'no-such-program'), [
    127,
    'keelson: exec: "no-such-program": executable file not found in $PATH\n',
  ]);
  assert.deepEqual(await run('host', '/etc/passwd'), [126, 'keelson: exec: "/etc/passwd": permission denied\n']);
  const [unknown, message] = await run('--user', 'nobody-knows', 'host', 'true');
  assert.equal(unknown, 125);
  assert.match(message, /nobody-knows/);
  assert.deepEqual(await run('host', 'sh', '-c', 'kill -9 $$ & wait; kill -TERM 1; exit 3').then(([code]) => code), 3);
  assert.equal(await e.keelson('ps', '-aq'), '');
});

test('standard input goes in with -i, to its end, and only then', async () => {
  await using e = await testEngine();
  const lines = `${'x'.repeat(1000)}\n`.repeat(2000);
  const withInput = await e.cli(['run', '--rm', '-i', ...none, 'host', 'md5sum'], { input: lines });
  const without = await e.cli(['run', '--rm', ...none, 'host', 'md5sum'], { input: lines });
  assert.match(withInput.stdout, /^[0-9a-f]{32} {2}-\n$/);
  assert.equal(without.stdout, 'd41d8cd98f00b204e9800998ecf8427e  -\n');
  assert.notEqual(withInput.stdout, without.stdout);
});

test('much output arrives whole', async () => {
  await using e = await testEngine();
  const { code, stdout } = await e.cli(['run', '--rm', ...none, 'host', 'seq', '400000']);
  assert.equal(code, 0);
  assert.equal(stdout.length, 2_688_895);
  assert.ok(stdout.endsWith('\n400000\n'));
});

test('a reader that goes away ends the command as SIGPIPE does, without a word', async () => {
  await using e = await testEngine();
  const id = await e.keelson('run', '-d', ...none, 'host', 'sh', '-c', 'while :; do echo line; done');
  const child = e.start(['logs', '-f', id]);
  child.stdout?.once('data', () => child.stdout?.destroy());
  const { code, stderr } = await finished(child, 'logs -f');
  assert.deepEqual([code, stderr], [141, '']);
  await e.keelson('rm', '-f', id);
});

test('a detached container outlives the command; later commands find it', async () => {
  await using e = await testEngine();
  const id = await e.keelson('run', '-d', '--name', 'web', ...none, 'host', 'sh', '-c', 'echo up; exec sleep 1000');
  assert.match(id, /^[0-9a-f]{64}$/);
  assert.equal(await e.keelson('inspect', '-f', '{{.State.Status}} {{.Name}}', 'web'), 'running /web');
  assert.equal(await e.keelson('logs', 'web'), 'up');
  assert.equal(await e.keelson('exec', 'web', 'echo', 'inside'), 'inside');
  assert.equal(await e.keelson('stop', '-t', '1', 'web'), 'web');
  assert.equal(await e.keelson('wait', 'web'), '137');
  assert.equal(await e.keelson('rm', 'web'), 'web');
});

test('signals are handed on to the container', async () => {
  await using e = await testEngine();
  const child = e.start([
    'run',
    '--rm',
    ...none,
    'host',
    'sh',
    '-c',
    'trap "echo got it; exit 5" TERM; echo ready; while :; do sleep 0.05; done',
  ]);
  child.stdout?.on('data', (text: Buffer) => {
    if (text.toString().includes('ready')) child.kill('SIGTERM');
  });
  assert.deepEqual(await finished(child, 'run'), { code: 5, stdout: 'ready\ngot it\n', stderr: '' });
});

test('with --sig-proxy=false a signal ends the command alone', async () => {
  await using e = await testEngine();
  const child = e.start([
    'run',
    '--name',
    'stays',
    '--sig-proxy=false',
    ...none,
    'host',
    'sh',
    '-c',
    'echo ready; exec sleep 1000',
  ]);
  child.stdout?.once('data', () => child.kill('SIGINT'));
  const { code } = await finished(child, 'run');
  assert.equal(code, 130);
  assert.equal(await e.keelson('inspect', '-f', '{{.State.Running}}', 'stays'), 'true');
});

test('the environment: -e, -e NAME, --env-file, the last one wins', async () => {
  await using e = await testEngine();
  const file = join(e.scratch, 'env');
  await writeFile(file, '# comment\nA=file\nB=from file \nFROM_HERE\nNOT_HERE\n');
  const { stdout } = await e.cli(
    ['run', '--rm', ...none, '--env-file', file, '-e', 'A=flag', '-e', 'TAKEN', '-e', 'MISSING', 'host', 'env'],
    { env: { FROM_HERE: 'here', TAKEN: 'taken' } },
  );
  const lines = stdout.split('\n');
  for (const line of ['A=flag', 'B=from file ', 'FROM_HERE=here', 'TAKEN=taken']) assert.ok(lines.includes(line), line);
  assert.ok(!stdout.includes('NOT_HERE') && !stdout.includes('MISSING'));
});

test('--cidfile holds the id, and must be new', async () => {
  await using e = await testEngine();
  const file = join(e.scratch, 'cid');
  await e.keelson('create', '--cidfile', file, '--name', 'one', 'host', 'true');
  assert.equal(await readFile(file, 'utf8'), await e.keelson('inspect', '-f', '{{.Id}}', 'one'));
  const again = await e.cli(['run', '--cidfile', file, 'host', 'true']);
  assert.equal(again.code, 125);
  assert.match(again.stderr, /container ID file found/);
});

test('a terminal: raw keys, window size, detaching and attaching again', async () => {
  await using e = await testEngine();
  const terminal = onTerminal(
    e,
    ['run', '-it', '--name', 'shell', ...none, 'host', 'sh', '-c', 'stty size; exec cat'],
    {
      rows: 40,
      columns: 100,
    },
  );
  await terminal.until(/40 100/);
  terminal.type('hello\r');
  await terminal.until(/hello\r\nhello/);
  terminal.type('\x10\x11');
  assert.equal(await terminal.exit, 0);
  assert.equal(await e.keelson('inspect', '-f', '{{.State.Running}}', 'shell'), 'true');
  const again = onTerminal(e, ['attach', 'shell']);
  await sleep(300);
  again.type('once more\r');
  await again.until(/once more\r\nonce more/);
  again.type('\x04');
  assert.equal(await again.exit, 0);
});

test('-it without a terminal is refused before anything is made', async () => {
  await using e = await testEngine();
  assert.deepEqual(await e.cli(['run', '-it', 'host', 'sh']), {
    code: 1,
    stdout: '',
    stderr: 'the input device is not a TTY\n',
  });
  assert.equal(await e.keelson('ps', '-aq'), '');
});

test('exec: exit codes, streams, input, terminal', async () => {
  await using e = await testEngine();
  await e.keelson('run', '-d', '--name', 'box', ...none, 'host', 'sleep', '1000');
  const { code, stdout, stderr } = await e.cli(['exec', 'box', 'sh', '-c', 'echo out; echo err >&2; exit 9']);
  assert.deepEqual([code, stdout, stderr], [9, 'out\n', 'err\n']);
  assert.equal((await e.cli(['exec', 'box', 'no-such-program'])).code, 127);
  assert.equal((await e.cli(['exec', 'box', '/etc/passwd'])).code, 126);
  assert.equal((await e.cli(['exec', 'nowhere', 'true'])).code, 1);
  assert.equal((await e.cli(['exec', '-i', 'box', 'cat'], { input: 'through' })).stdout, 'through');
  assert.equal(
    await e.keelson('exec', '-e', 'X=1', '-w', '/tmp', '-u', '1000', 'box', 'sh', '-c', 'echo $X $PWD $(id -u)'),
    '1 /tmp 1000',
  );
  const terminal = onTerminal(e, ['exec', '-it', 'box', 'sh', '-c', 'tty; stty size'], { rows: 33, columns: 77 });
  await terminal.until(/\/dev\/pts\/\d+\r\n33 77/);
  assert.equal(await terminal.exit, 0);
});
