import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { testEngine } from '../support/engine.ts';

test('explain prints the plan in chapters and makes nothing', async () => {
  await using e = await testEngine();
  const text = await e.keelson(
    'explain',
    'run',
    '--network',
    'none',
    '-m',
    '64m',
    '--read-only',
    '-v',
    '/tmp:/x',
    'host',
    'echo',
    'hi',
  );
  const chapters = [...text.matchAll(/^(\S.*?) {2}\S/gm)].map((match) => match[1]);
  assert.deepEqual(chapters, ['namespaces', 'cgroup', 'root file system', 'devices', 'network', 'security', 'exec']);
  for (const line of [
    /^ +\d+ keel +clone3\(\{flags=.*CLONE_NEWNS.*CLONE_NEWPID.*, exit_signal=SIGCHLD/m,
    /^ +\d+ init +pivot_root\("\.", "\."\)$/m,
    /^ +\d+ init +seccomp\(SECCOMP_SET_MODE_FILTER, /m,
    /^ +\d+ init +execve\("\S*\/echo", \["echo","hi"\]/m,
    /^ +# mounting \/\S+ on \/x$/m,
    /67108864/,
  ])
    assert.match(text, line);
  // Every operation has its number, each once.
  const numbers = [...text.matchAll(/^ +(\d+) (?:keel|init|exit|\w+) /gm)].map((match) => Number(match[1]));
  assert.deepEqual(
    numbers.toSorted((a, b) => a - b),
    Array.from(numbers, (_, i) => i + 1),
  );
  assert.equal(await e.keelson('ps', '-aq'), '');
  assert.deepEqual(await readdir(join(e.root, 'containers')).catch(() => []), []);
});

test('explain says what is wrong with what it is given', async () => {
  await using e = await testEngine();
  assert.match((await e.cli(['explain', 'ps'])).stderr, /^keelson: cannot explain "ps"/);
  assert.match((await e.cli(['explain', 'run'])).stderr, /^keelson: an image is needed/);
  assert.match((await e.cli(['explain', 'run', '--foo', 'host'])).stderr, /^unknown flag: --foo\n/);
});

test('doctor examines this machine', async () => {
  await using e = await testEngine();
  const { stdout } = await e.cli(['doctor']);
  for (const chapter of ['kernel', 'namespaces', 'control groups'])
    assert.match(stdout, new RegExp(`^${chapter}$`, 'm'));
  assert.match(stdout, /\nContainers .*\.\n$/);
  const findings = JSON.parse((await e.cli(['doctor', '--format', 'json'])).stdout) as Record<string, string>[];
  assert.ok(findings.length > 10);
  for (const finding of findings)
    assert.deepEqual(Object.keys(finding).slice(0, 4), ['group', 'name', 'status', 'detail']);
});

test('the demonstration runs a container, shows its plan and the time of each layer', async () => {
  await using e = await testEngine();
  const text = await e.keelson('demo');
  assert.match(text, /^ +\d+ init +pivot_root|… \d+ more lines$/m);
  assert.match(text, /│ I am process 1 on a machine called demo\.$/m);
  assert.match(text, /^ *[\d.]+ ms +\+[\d.]+ ms +run$/m);
  assert.equal(await e.keelson('ps', '-aq'), '');
});

test('info and version know where they are', async () => {
  await using e = await testEngine();
  assert.equal(await e.keelson('info', '-f', '{{.DockerRootDir}} {{.Containers}} {{.OSType}}'), `${e.root} 0 linux`);
  assert.match(await e.keelson('info'), /^Containers: 0$/m);
  const version = JSON.parse(await e.keelson('version', '-f', 'json')) as { Server: Record<string, string> };
  assert.equal(version.Server['ApiVersion'], '1.51');
});
