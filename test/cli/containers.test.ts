import assert from 'node:assert/strict';
import { test } from 'node:test';
import { finished, testEngine } from '../support/engine.ts';

const none = ['--network', 'none'] as const;
const sleeping = ['host', 'sleep', '1000'] as const;

test('ps: table, ids, formats, filters', async () => {
  await using e = await testEngine();
  const web = await e.keelson('run', '-d', '--name', 'web', '--label', 'tier=front', ...none, ...sleeping);
  await e.keelson('create', '--name', 'idle', ...none, 'host', 'sh', '-c', 'a rather long command that is cut');
  await e.cli(['run', '--name', 'dead', ...none, 'host', 'sh', '-c', 'exit 3']);

  const table = (await e.keelson('ps', '-a')).split('\n');
  assert.match(table[0] as string, /^CONTAINER ID {3}IMAGE {5}COMMAND +CREATED +STATUS +PORTS {5}NAMES$/);
  assert.deepEqual(
    table.slice(1).map((line) => line.split(/ {2,}/).at(-1)),
    ['dead', 'idle', 'web'],
  );
  assert.match(table[1] as string, /^[0-9a-f]{12} {3}host {6}"sh -c 'exit 3'" +\S.* ago +Exited \(3\) .* ago +dead$/);
  assert.match(table[2] as string, / "sh -c 'a rather lon…" +.* ago +Created +idle$/);
  assert.match(table[3] as string, / "sleep 1000" +.* ago +Up \S.* +web$/);

  assert.equal(await e.keelson('ps', '-q'), web.slice(0, 12));
  assert.equal(await e.keelson('ps', '-q', '--no-trunc'), web);
  assert.equal(await e.keelson('ps', '-l', '--format', '{{.Names}}'), 'dead');
  assert.equal(await e.keelson('ps', '-n', '2', '--format', '{{.Names}}'), 'dead\nidle');
  assert.equal(
    await e.keelson('ps', '--filter', 'label=tier=front', '--format', '{{.Names}} {{.Label "tier"}}'),
    'web front',
  );
  assert.equal(
    await e.keelson('ps', '-a', '--filter', 'status=exited', '--filter', 'status=created', '--format', '{{.Names}}'),
    'dead\nidle',
  );
  assert.equal(await e.keelson('ps', '-a', '--filter', 'exited=3', '--format', '{{.Names}}'), 'dead');
  assert.equal(
    await e.keelson('ps', '-a', '--filter', 'name=we', '--format', 'table {{.Names}}\\t{{.State}}'),
    'NAMES     STATE\nweb       running',
  );
  const json = JSON.parse(await e.keelson('ps', '--format', 'json')) as Record<string, string>;
  assert.equal(json['ID'], web.slice(0, 12));
  assert.equal(json['Labels'], 'tier=front');
  assert.equal(json['Networks'], 'none');
  // The host's own files are no image's: there is no virtual size.
  assert.equal(await e.keelson('ps', '-as', '--format', '{{.Names}} {{.Size}}'), 'dead 0B\nidle 0B\nweb 0B');

  for (const [filter, message] of [
    ['foo=bar', /^keelson: invalid filter 'foo'\n$/],
    ['status=foo', /^keelson: invalid filter 'status=/],
    ['exited=x', /^keelson: invalid filter 'exited=/],
  ] as const) {
    const { code, stderr } = await e.cli(['ps', '--filter', filter]);
    assert.equal(code, 1);
    assert.match(stderr, message);
  }
  const bad = await e.cli(['ps', '--format', '{{.Foo}}']);
  assert.equal(
    bad.stderr,
    `keelson: failed to execute template: template: :1:2: executing "" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext\n`,
  );
});

test('inspect: documents, templates, errors last', async () => {
  await using e = await testEngine();
  const id = await e.keelson(
    'create',
    '--name',
    'box',
    '-e',
    'A=b',
    '-m',
    '64m',
    '--cpus',
    '1.5',
    '--tmpfs',
    '/t:size=1m',
    '-v',
    '/tmp:/x:ro',
    '--restart',
    'on-failure:3',
    ...none,
    ...sleeping,
  );
  const [document] = JSON.parse(await e.keelson('inspect', 'box')) as [Record<string, Record<string, unknown>>];
  assert.deepEqual(Object.keys(document), [
    'Id',
    'Created',
    'Path',
    'Args',
    'State',
    'Image',
    'ResolvConfPath',
    'HostnamePath',
    'HostsPath',
    'LogPath',
    'Name',
    'RestartCount',
    'Driver',
    'Platform',
    'MountLabel',
    'ProcessLabel',
    'AppArmorProfile',
    'ExecIDs',
    'HostConfig',
    'GraphDriver',
    'Mounts',
    'Config',
    'NetworkSettings',
  ]);
  assert.equal(document['Id'], id);
  const host = document['HostConfig'] as Record<string, unknown>;
  assert.deepEqual(
    [host['Memory'], host['NanoCpus'], host['Binds'], host['Tmpfs'], host['RestartPolicy'], host['NetworkMode']],
    [67108864, 1500000000, ['/tmp:/x:ro'], { '/t': 'size=1m' }, { Name: 'on-failure', MaximumRetryCount: 3 }, 'none'],
  );
  assert.ok((document['Config'] as { Env: string[] }).Env.includes('A=b'));

  const format = (template: string): Promise<string> => e.keelson('inspect', '-f', template, 'box');
  assert.equal(await format('{{.State.Status}} {{.Name}} {{.ID}}'), `created /box ${id}`);
  assert.equal(await format('{{json .HostConfig.RestartPolicy}}'), '{"Name":"on-failure","MaximumRetryCount":3}');
  assert.equal(await format('{{range .Mounts}}{{.Source}}:{{.Destination}} {{.RW}}{{end}}'), '/tmp:/x false');
  assert.equal(
    await format('{{.HostConfig.CapAdd}} {{.HostConfig.PidsLimit}} {{len .HostConfig.Tmpfs}}'),
    '[] <nil> 1',
  );

  const missing = await e.cli(['inspect', '-f', '{{.Id}}', 'nope', 'box']);
  assert.deepEqual(missing, { code: 1, stdout: `${id}\n`, stderr: 'keelson: no such object: nope\n' });
  assert.deepEqual(await e.cli(['container', 'inspect', 'nope']), {
    code: 1,
    stdout: '[]\n',
    stderr: 'keelson: No such container: nope\n',
  });
  assert.deepEqual(await e.cli(['inspect', '-f', '{{.State.Foo}}', 'box']), {
    code: 1,
    stdout: '\n',
    stderr: 'template parsing error: template: :1:8: executing "" at <.State.Foo>: map has no entry for key "Foo"\n',
  });
  assert.deepEqual(await e.cli(['inspect', '-f', '{{.', 'box']), {
    code: 64,
    stdout: '',
    stderr: 'template parsing error: template: :1: illegal number syntax: "."\n',
  });
});

test('start, stop, kill, pause, rename, update, wait and rm on several, errors last', async () => {
  await using e = await testEngine();
  for (const name of ['one', 'two']) await e.keelson('create', '--name', name, ...none, ...sleeping);
  assert.deepEqual(await e.cli(['start', 'one', 'nope', 'two']), {
    code: 1,
    stdout: 'one\ntwo\n',
    stderr: 'keelson: No such container: nope\n',
  });
  assert.equal(await e.keelson('pause', 'one'), 'one');
  assert.match(
    await e.keelson('ps', '--filter', 'status=paused', '--format', '{{.Names}} {{.Status}}'),
    /^one Up .* \(Paused\)$/,
  );
  assert.equal(await e.keelson('unpause', 'one'), 'one');
  assert.equal(await e.keelson('rename', 'one', 'uno'), '');
  assert.equal(await e.keelson('update', '--cpu-shares', '512', 'uno'), 'uno');
  assert.equal(await e.keelson('inspect', '-f', '{{.HostConfig.CpuShares}}', 'uno'), '512');
  assert.equal(await e.keelson('kill', '-s', 'TERM', 'uno'), 'uno');
  const running = await e.cli(['rm', 'two']);
  assert.equal(running.code, 1);
  assert.match(
    running.stderr,
    /^keelson: cannot remove container "?\S+two"?: container is running: stop the container before removing or force remove\n$|container is running/,
  );
  assert.equal(await e.keelson('stop', '-t', '0', 'two'), 'two');
  assert.equal(await e.keelson('wait', 'two'), '137');
  assert.deepEqual(await e.cli(['rm', '-f', 'uno', 'nope', 'two']), {
    code: 0,
    stdout: 'uno\ntwo\n',
    stderr: 'keelson: No such container: nope\n',
  });
});

test('logs: tail, since, timestamps, follow to the end', async () => {
  await using e = await testEngine();
  await e.cli([
    'run',
    '--name',
    'talk',
    ...none,
    'host',
    'sh',
    '-c',
    'for i in 1 2 3 4; do echo out $i; done; echo err >&2',
  ]);
  const all = await e.cli(['logs', 'talk']);
  assert.deepEqual(all, { code: 0, stdout: 'out 1\nout 2\nout 3\nout 4\n', stderr: 'err\n' });
  assert.equal((await e.cli(['logs', '-n', '2', 'talk'])).stdout, 'out 4\n');
  assert.match(
    (await e.cli(['logs', '-t', '--tail', '1', 'talk'])).stderr,
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z err\n$/,
  );
  assert.equal((await e.cli(['logs', '--since', '0s', 'talk'])).stdout, '');
  assert.equal((await e.cli(['logs', '--until', '1h', 'talk'])).stdout, '');
  const child = e.start([
    'run',
    '--rm',
    '--name',
    'live',
    ...none,
    'host',
    'sh',
    '-c',
    'for i in 1 2 3; do sleep 0.3; echo $i; done',
  ]);
  const done = finished(child, 'run');
  while ((await e.keelson('ps', '-q', '--filter', 'name=live')) === '') continue;
  const followed = await e.cli(['logs', '-f', 'live']);
  assert.deepEqual([followed.code, followed.stdout], [0, '1\n2\n3\n']);
  assert.equal((await done).stdout, '1\n2\n3\n');
});

test('top, stats, diff, port, export', async () => {
  await using e = await testEngine();
  await e.keelson(
    'run',
    '-d',
    '--name',
    'box',
    ...none,
    'host',
    'sh',
    '-c',
    'mkdir /new; touch /new/file; exec sleep 1000',
  );
  assert.match(await e.keelson('top', 'box'), /^UID {17}PID {17}PPID .*CMD\n.* sleep 1000$/);
  assert.match(await e.keelson('top', 'box', '-o', 'pid,comm'), /^PID {17}COMMAND\n\d+ +sleep$/);
  const stats = await e.keelson('stats', '--no-stream');
  assert.match(
    stats,
    /^CONTAINER ID {3}NAME {6}CPU % {5}MEM USAGE \/ LIMIT +MEM % +NET I\/O +BLOCK I\/O +PIDS\n[0-9a-f]{12} {3}box +\d+\.\d\d% +\S+ \/ \S+ +\d+\.\d\d% .* 1$/,
  );
  assert.match(await e.keelson('diff', 'box'), /^A \/new$/m);
  assert.equal(await e.keelson('port', 'box'), '');
  assert.equal((await e.cli(['port', 'box', '80'])).code, 1);
});

test('published ports are shown in ps, port and inspect', async () => {
  await using e = await testEngine();
  await e.keelson('run', '-d', '--name', 'web', '-p', '127.0.0.1:18080:80', '--expose', '443/udp', ...sleeping);
  assert.equal(await e.keelson('ps', '--format', '{{.Ports}}'), '443/udp, 127.0.0.1:18080->80/tcp');
  assert.equal(await e.keelson('port', 'web'), '80/tcp -> 127.0.0.1:18080');
  assert.equal(await e.keelson('port', 'web', '80/tcp'), '127.0.0.1:18080');
  assert.equal(
    await e.keelson('inspect', '-f', '{{json .NetworkSettings.Ports}}', 'web'),
    '{"443/udp":null,"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"18080"}]}',
  );
  assert.match(await e.keelson('inspect', '-f', '{{.NetworkSettings.IPAddress}}', 'web'), /^\d+\.\d+\.\d+\.\d+$/);
  await e.keelson('rm', '-f', 'web');
});

test('events: what happened, by filter and format', async () => {
  await using e = await testEngine();
  await e.cli(['run', '--rm', '--name', 'brief', ...none, 'host', 'sh', '-c', 'exit 4']);
  const events = async (...more: string[]): Promise<string> =>
    e.keelson('events', '--since', '1h', '--until', '0s', ...more);
  const all = await events();
  for (const action of ['create', 'start', 'die', 'destroy'])
    assert.match(all, new RegExp(`^\\S+Z container ${action} [0-9a-f]{64} \\(.*name=brief\\)$`, 'm'));
  assert.equal(
    await events('--filter', 'event=die', '--format', '{{.Type}} {{.Action}} {{.Actor.Attributes.exitCode}}'),
    'container die 4',
  );
  const [line = ''] = (await events('--filter', 'type=container', '--format', 'json')).split('\n');
  const event = JSON.parse(line) as Record<string, unknown>;
  assert.deepEqual(Object.keys(event), [
    'status',
    'id',
    'from',
    'Type',
    'Action',
    'Actor',
    'scope',
    'time',
    'timeNano',
  ]);
});

test('volumes: create, list, inspect, use, prune', async () => {
  await using e = await testEngine();
  assert.equal(await e.keelson('volume', 'create', '--label', 'k=v', 'data'), 'data');
  await e.keelson('run', '--rm', ...none, '-v', 'data:/data', 'host', 'sh', '-c', 'echo kept > /data/file');
  assert.equal(await e.keelson('run', '--rm', ...none, '-v', 'data:/data', 'host', 'cat', '/data/file'), 'kept');
  assert.equal(await e.keelson('volume', 'ls'), 'DRIVER    VOLUME NAME\nlocal     data');
  assert.equal(await e.keelson('volume', 'ls', '-q', '--filter', 'label=k'), 'data');
  assert.equal(
    await e.keelson('volume', 'inspect', '-f', '{{.Name}} {{.Labels.k}} {{.Driver}}', 'data'),
    'data v local',
  );
  await e.keelson('create', '--name', 'user', '-v', 'data:/data', ...none, ...sleeping);
  const used = await e.cli(['volume', 'rm', 'data']);
  assert.equal(used.code, 1);
  assert.match(used.stderr, /volume is in use/);
  await e.keelson('rm', 'user');
  assert.equal(await e.keelson('volume', 'prune', '-f'), 'Total reclaimed space: 0B');
  assert.match(await e.keelson('volume', 'prune', '-af'), /^Deleted Volumes:\ndata\n\nTotal reclaimed space: \d+B$/);
});

test('container prune and system df', async () => {
  await using e = await testEngine();
  const id = await e.keelson('create', ...none, 'host', 'true');
  assert.match(
    await e.keelson('system', 'df'),
    /^TYPE {12}TOTAL {5}ACTIVE {4}SIZE +RECLAIMABLE\nImages .*\nContainers {6}1 {9}0 .*\nLocal Volumes .*\nBuild Cache /,
  );
  const asked = await e.cli(['container', 'prune'], { input: 'n\n' });
  assert.deepEqual([asked.code, asked.stdout], [0, '']);
  assert.equal(
    await e.keelson('container', 'prune', '-f').then((text) => text.split('\n').slice(0, 3).join('|')),
    `Deleted Containers:|${id}|`,
  );
});

test('--timing prints the spans, --trace-file writes them', async () => {
  await using e = await testEngine();
  const { stderr } = await e.cli(['--timing', '--trace-file', 'trace.json', 'run', '--rm', ...none, 'host', 'true']);
  for (const span of ['start Node and the command line', '  open engine', '  create', '  start'])
    assert.ok(stderr.includes(span), stderr);
  const { stdout } = await finished(e.start(['version', '-f', 'x']), 'version');
  assert.equal(stdout, 'x\n');
});
