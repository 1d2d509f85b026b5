import assert from 'node:assert/strict';
import { test } from 'node:test';
import { portsText } from '../../api/docker/container-ports.ts';
import { containerStatusText } from '../../api/docker/container-status.ts';
import type { ContainerSummary } from '../../api/docker/container-summary.ts';
import { goTime, humanDuration } from '../../api/docker/time.ts';
import { containerHeaders, containerTable, containerView } from './container-view.ts';
import { renderList } from './list-view.ts';
import { alignTable, ellipsis } from './table.ts';
import { binarySize, humanSize } from './units.ts';

test('sizes are those of docker', () => {
  assert.deepEqual(
    [0, 1, 999, 1000, 2063356, 999999, 1e9, 1.5e12].map((n) => humanSize(n)),
    ['0B', '1B', '999B', '1kB', '2.063MB', '1000kB', '1GB', '1.5TB'],
  );
  assert.equal(humanSize(2063356, 3), '2.06MB');
  assert.deepEqual([0, 1024, 25276014592, 1536 * 1024].map(binarySize), ['0B', '1KiB', '23.54GiB', '1.5MiB']);
});

test('durations are those of docker', () => {
  const second = 1000;
  const minute = 60 * second;
  const hour = 60 * minute;
  const day = 24 * hour;
  const expected: [number, string][] = [
    [0, 'Less than a second'],
    [-5 * second, 'Less than a second'],
    [999, 'Less than a second'],
    [second, '1 second'],
    [59 * second, '59 seconds'],
    [minute, 'About a minute'],
    [119 * second, 'About a minute'],
    [2 * minute, '2 minutes'],
    [59 * minute, '59 minutes'],
    [hour, 'About an hour'],
    [89 * minute, 'About an hour'],
    [90 * minute, '2 hours'],
    [47 * hour, '47 hours'],
    [2 * day, '2 days'],
    [13 * day, '13 days'],
    [14 * day, '2 weeks'],
    [59 * day, '8 weeks'],
    [60 * day, '2 months'],
    [729 * day, '24 months'],
    [730 * day, '2 years'],
  ];
  for (const [duration, text] of expected) assert.equal(humanDuration(duration), text);
});

test('times are written as Go writes them', () => {
  assert.equal(goTime(0), '0001-01-01T00:00:00Z');
  assert.equal(goTime(Date.UTC(2026, 10, 22, 6, 12, 20)), '2026-11-22T06:12:20Z');
  assert.equal(goTime(Date.UTC(2026, 10, 22, 6, 12, 20, 500)), '2026-11-22T06:12:20.5Z');
});

test('the status column says what happened and how long ago', () => {
  const now = Date.UTC(2026, 10, 22, 6, 0, 0);
  const status = (state: string, more: object = {}): string =>
    containerStatusText(
      {
        state: state as 'running',
        pid: 0,
        exitCode: 0,
        oomKilled: false,
        error: '',
        startedAt: now - 3000,
        finishedAt: now - 300_000,
        ...more,
      },
      now,
    );
  assert.equal(status('running'), 'Up 3 seconds');
  assert.equal(status('paused'), 'Up 3 seconds (Paused)');
  assert.equal(status('exited', { exitCode: 137 }), 'Exited (137) 5 minutes ago');
  assert.equal(status('created'), 'Created');
  assert.equal(status('restarting', { exitCode: 1 }), 'Restarting (1) 5 minutes ago');
});

test('the ports column joins neighbours and puts remapped ports last', () => {
  const everywhere = (PrivatePort: number, PublicPort: number): object[] =>
    ['0.0.0.0', '::'].map((IP) => ({ IP, PrivatePort, PublicPort, Type: 'tcp' }));
  const local = (port: number): object => ({ IP: '127.0.0.1', PrivatePort: port, PublicPort: port, Type: 'udp' });
  const ports = [
    ...everywhere(80, 8080),
    ...everywhere(53, 32768),
    local(9000),
    local(9002),
    local(9001),
    { PrivatePort: 443, Type: 'udp' },
  ] as Parameters<typeof portsText>[0];
  assert.equal(
    portsText(ports),
    '443/udp, 127.0.0.1:9000-9002->9000-9002/udp, 0.0.0.0:32768->53/tcp, [::]:32768->53/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp',
  );
  assert.equal(portsText([]), '');
});

test('tables are aligned as by tabwriter', () => {
  assert.equal(
    alignTable('A\tB\tC\nlonger than ten\t\tx\n'),
    'A                 B         C\nlonger than ten             x\n',
  );
  assert.equal(alignTable('UID\tPID\n', { minWidth: 20, padding: 3 }), 'UID                 PID\n');
  // A line with fewer cells ends a column's block.
  assert.equal(alignTable('a\tb\nplain\nlong long long\tb\n'), 'a         b\nplain\nlong long long   b\n');
});

test('cut texts end in an ellipsis', () => {
  assert.equal(ellipsis('short', 20), 'short');
  assert.equal(ellipsis("sh -c 'echo hi; echo err'", 20), "sh -c 'echo hi; ech…");
  assert.equal(ellipsis('日本語日本語', 6), '日本…');
});

const summary = (id: string, more: object): ContainerSummary => ({
  Id: id.repeat(32),
  Names: ['/web'],
  Image: 'bb:1',
  ImageID: 'sha256:x',
  Command: 'sleep 1000',
  Created: Math.trunc(Date.now() / 1000) - 3,
  Ports: [],
  Labels: new Map([
    ['k', 'v'],
    ['a.b-c', 'd'],
  ]),
  State: 'running',
  Status: 'Up 2 seconds',
  HostConfig: { NetworkMode: 'bridge' },
  NetworkSettings: { Networks: new Map([['bridge', {}]]) },
  Mounts: [],
  ...more,
});

const rows = [
  containerView(summary('ab', { Names: ['/two'], Command: "sh -c 'echo hi; echo err >&2; sleep 1000'" }), true),
  containerView(summary('cd', {}), true),
];
const list = (format: string, views = rows): string =>
  renderList(views, { format, table: containerTable, headers: containerHeaders });

test('ps prints the table of docker', () => {
  assert.equal(
    list(''),
    [
      'CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS         PORTS     NAMES',
      `abababababab   bb:1      "sh -c 'echo hi; ech…"   3 seconds ago   Up 2 seconds             two`,
      'cdcdcdcdcdcd   bb:1      "sleep 1000"             3 seconds ago   Up 2 seconds             web',
      '',
    ].join('\n'),
  );
  assert.equal(list('', []), 'CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n');
});

test('a table of one’s own has the headings of its columns', () => {
  assert.equal(
    list('table {{.Names}}\\t{{.Label "a.b-c"}}\\t{{upper .State}}'),
    'NAMES     b c       STATE\ntwo       d         RUNNING\nweb       d         RUNNING\n',
  );
});

test('json has every field, in the order of names', () => {
  const first = JSON.parse(list('json').split('\n')[0] as string) as Record<string, unknown>;
  assert.deepEqual(Object.keys(first), Object.keys(first).toSorted());
  assert.equal(first['Command'], `"sh -c 'echo hi; ech…"`);
  assert.equal(first['Labels'], 'a.b-c=d,k=v');
  assert.equal(list('json'), list('{{json .}}'));
});

test('a bad template is an error in the words of docker', () => {
  assert.throws(() => list('{{.Foo}}'), {
    message: `template parsing error: template: :1:2: executing "" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext`,
  });
  assert.throws(() => list('{{.Foo'), { message: 'template parsing error: template: :1: unclosed action' });
});
