import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testEngine } from '../support/engine.ts';

/** What docker 28.2's command line says to each of these, with its own name in the place of ours; below it the exit code. */
const said: readonly (readonly [line: string, code: number, stderr: string])[] = [
  [
    'run --foo',
    125,
    "unknown flag: --foo\n\nUsage:  keelson run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'keelson run --help' for more information\n",
  ],
  [
    'run -itZ x',
    125,
    "unknown shorthand flag: 'Z' in -Z\n\nUsage:  keelson run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'keelson run --help' for more information\n",
  ],
  [
    'run --name',
    125,
    "flag needs an argument: --name\n\nUsage:  keelson run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'keelson run --help' for more information\n",
  ],
  [
    'run',
    1,
    "keelson: 'keelson run' requires at least 1 argument\n\nUsage:  keelson run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nSee 'keelson run --help' for more information\n",
  ],
  [
    'ps a',
    1,
    "keelson: 'keelson ps' accepts no arguments\n\nUsage:  keelson ps [OPTIONS]\n\nRun 'keelson ps --help' for more information\n",
  ],
  [
    'logs a b',
    1,
    "keelson: 'keelson logs' requires 1 argument\n\nUsage:  keelson logs [OPTIONS] CONTAINER\n\nRun 'keelson logs --help' for more information\n",
  ],
  [
    'rename a',
    1,
    "keelson: 'keelson rename' requires 2 arguments\n\nUsage:  keelson rename CONTAINER NEW_NAME\n\nRun 'keelson rename --help' for more information\n",
  ],
  [
    'port',
    1,
    "keelson: 'keelson port' requires at least 1 and at most 2 arguments\n\nUsage:  keelson port CONTAINER [PRIVATE_PORT[/PROTO]]\n\nRun 'keelson port --help' for more information\n",
  ],
  [
    'volume create a b',
    1,
    "keelson: 'keelson volume create' requires at most 1 argument\n\nUsage:  keelson volume create [OPTIONS] [VOLUME]\n\nRun 'keelson volume create --help' for more information\n",
  ],
  [
    'cp a',
    1,
    "keelson: 'keelson cp' requires 2 arguments\n\nUsage:  keelson cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tkeelson cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH\n\nRun 'keelson cp --help' for more information\n",
  ],
  ['cp a b', 1, 'keelson: must specify at least one container source\n'],
  ['cp a:b c:d', 1, 'keelson: copying between containers is not supported\n'],
  ['foo', 1, "keelson: unknown command: keelson foo\n\nRun 'keelson --help' for more information\n"],
  [
    'image foo',
    1,
    "keelson: unknown command: keelson image foo\n\nUsage:  keelson image\n\nRun 'keelson image --help' for more information\n",
  ],
  [
    '--foo',
    125,
    "unknown flag: --foo\n\nUsage:  keelson [OPTIONS] COMMAND [ARG...]\n\nRun 'keelson --help' for more information\n",
  ],
  ['help foo', 1, 'unknown help topic: foo\n'],
  ['run --memory=xx alpine', 125, invalid('run', 'xx', '-m, --memory', "invalid size: 'xx'")],
  ['run --cpus=abc x', 125, invalid('run', 'abc', '--cpus', 'failed to parse abc as a rational number')],
  ['run --rm=maybe x', 125, invalid('run', 'maybe', '--rm', 'strconv.ParseBool: parsing "maybe": invalid syntax')],
  ['run --ulimit foo x', 125, invalid('run', 'foo', '--ulimit', 'invalid ulimit argument: foo')],
  ['run --mount type=foo x', 125, invalid('run', 'type=foo', '--mount', 'target is required')],
  [
    'run --mount type=bind,src=/a,dst=/b,bar x',
    125,
    invalid('run', 'type=bind,src=/a,dst=/b,bar', '--mount', "invalid field 'bar' must be a key=value pair"),
  ],
  [
    'run --mount type=bind,src=/a,dst=/b,bar=3 x',
    125,
    invalid('run', 'type=bind,src=/a,dst=/b,bar=3', '--mount', "unexpected key 'bar' in 'bar=3'"),
  ],
  ['run -a foo x', 125, invalid('run', 'foo', '-a, --attach', 'valid streams are STDIN, STDOUT and STDERR')],
  ['run -e =x x', 125, invalid('run', '=x', '-e, --env', 'invalid environment variable: =x')],
  ['run --label =a x', 125, invalid('run', '=a', '-l, --label', "invalid label '=a': empty name")],
  ['run --sysctl foo=bar x', 125, invalid('run', 'foo=bar', '--sysctl', "sysctl 'foo=bar' is not allowed")],
  ['run --add-host foo:bar x', 125, invalid('run', 'foo:bar', '--add-host', 'invalid IP address in add-host: "bar"')],
  ['run --dns foo x', 125, invalid('run', 'foo', '--dns', 'IP address is not correctly formatted: foo')],
  [
    'run --blkio-weight 70000 x',
    125,
    invalid('run', '70000', '--blkio-weight', 'strconv.ParseUint: parsing "70000": value out of range'),
  ],
  ['run --gpus all x', 125, invalid('run', 'all', '--gpus', 'not supported by keelson')],
  [
    'stop -t abc x',
    125,
    'invalid argument "abc" for "-t, --timeout" flag: strconv.ParseInt: parsing "abc": invalid syntax\n\nUsage:  keelson stop [OPTIONS] CONTAINER [CONTAINER...]\n\nRun \'keelson stop --help\' for more information\n',
  ],
  [
    'ps --filter foo',
    125,
    'invalid argument "foo" for "-f, --filter" flag: bad format of filter (expected name=value)\n\nUsage:  keelson ps [OPTIONS]\n\nRun \'keelson ps --help\' for more information\n',
  ],
  ['run -p 99999:80 x', 125, refused('invalid hostPort: 99999')],
  ['run --rm --restart always x', 125, refused('conflicting options: cannot specify both --restart and --rm')],
  ['run --pull foo x', 125, refused('invalid pull option: \'foo\': must be one of "always", "missing" or "never"')],
  ['run --pid foo x', 125, refused('--pid: invalid PID mode')],
  ['run --userns foo x', 125, refused('--userns: invalid USER mode')],
  ['run --cgroupns foo x', 125, refused('--cgroupns: invalid CGROUP mode')],
  ['run --security-opt foo x', 125, refused('Invalid --security-opt: "foo"')],
  ['run --device /dev/null:/x:q x', 125, refused('bad mode specified: q')],
  ['run --device a:b:c:d x', 125, refused('bad format for path: a:b:c:d')],
  ['update x', 1, 'keelson: you must provide one or more flags when using this command\n'],
  ['events --since x', 1, 'keelson: failed to parse value as time or duration: "x"\n'],
  ['pull UPPER', 1, 'keelson: invalid reference format: repository name (library/UPPER) must be lowercase\n'],
  ['start -a one two', 1, 'keelson: you cannot start and attach multiple containers at once\n'],
];

function invalid(command: string, value: string, flag: string, why: string): string {
  return `invalid argument "${value}" for "${flag}" flag: ${why}\n\nUsage:  keelson ${command} [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'keelson ${command} --help' for more information\n`;
}

function refused(why: string): string {
  return `keelson: ${why}\n\nRun 'keelson run --help' for more information\n`;
}

test('mistakes on the command line are answered as docker answers them', async () => {
  await using e = await testEngine();
  for (const [line, code, stderr] of said)
    assert.deepEqual(await e.cli(line.split(' ')), { code, stdout: '', stderr }, `keelson ${line}`);
});

test('a missing file is named', async () => {
  await using e = await testEngine();
  for (const flag of ['--env-file', '--label-file']) {
    const { code, stderr } = await e.cli(['run', flag, '/no/such/file', 'host', 'true']);
    assert.deepEqual([code, stderr], [125, 'keelson: open /no/such/file: no such file or directory\n']);
  }
});

test('--version and help', async () => {
  await using e = await testEngine();
  assert.match(await e.keelson('--version'), /^Keelson version \d+\.\d+\.\d+$/);
  assert.equal(await e.keelson('help', 'run'), await e.keelson('run', '--help'));
  assert.match(await e.keelson('version', '-f', '{{.Server.ApiVersion}}'), /^1\.51$/);
});
