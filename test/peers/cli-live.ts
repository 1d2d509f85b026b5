/** docker and podman: containers that stay, and what is done to them. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { line, until } from './process.ts';
import type { Check, Engine, Scenario } from './scenario.ts';

const loop = (body = ':'): string[] => ['sh', '-c', `${body}; while :; do sleep 0.1; done`];

export const live: Scenario<Engine> = {
  name: 'live',
  async play(engine, check) {
    const name = await engine.start(
      ['-m', '64m', '--pids-limit', '50', '-e', 'A=b'],
      loop('echo begun; echo more >&2'),
    );
    await exec(engine, check, name);
    await look(engine, check, name);
    await pause(engine, check, name);
    await copy(engine, check, name);
    await update(engine, check, name);
    const renamed = engine.name('renamed');
    check(
      'rename',
      /^0 running$/,
      `${(await engine.cli(['rename', name, renamed])).code} ${await engine.inspect(renamed, '{{.State.Status}}')}`,
    );
    const before = await engine.inspect(renamed, '{{.State.Pid}}');
    const restarted = await engine.cli(['restart', '-t', '0', renamed]);
    const after = await engine.inspect(renamed, '{{.State.Pid}}');
    check('restart', /^0 another$/, `${restarted.code} ${before !== after && after !== '0' ? 'another' : after}`);
    check('kill', /^0 exited 137$/, `${(await engine.cli(['kill', renamed])).code} ${await ended(engine, renamed)}`);
    check(
      'start again',
      /^0 running$/,
      `${(await engine.cli(['start', renamed])).code} ${await engine.inspect(renamed, '{{.State.Status}}')}`,
    );
    check('rm --force', /^0$/, `${(await engine.cli(['rm', '-f', renamed])).code}`);
  },
};

const ended = async (engine: Engine, name: string): Promise<string> =>
  until(
    () => engine.inspect(name, '{{.State.Status}} {{.State.ExitCode}}'),
    (text) => text.startsWith('exited'),
  );

async function exec(engine: Engine, check: Check, name: string): Promise<void> {
  const run = (flags: string[], ...command: string[]): Promise<string> =>
    engine.line('exec', ...flags, name, ...command);
  check('exec: output and exit code', /^5: out err$/, await run([], 'sh', '-c', 'echo out; echo err >&2; exit 5'));
  check(
    'exec: environment, user and directory',
    /^0: b d 1000 \/tmp$/,
    await run(['-e', 'C=d', '-u', 'user', '-w', '/tmp'], 'sh', '-c', 'echo $A $C $(id -u) $PWD'),
  );
  check('exec: terminal', /^0: \/dev\/pts\/\d+$/, await run(['-t'], 'tty'));
  check('exec: standard input', /^0: typed$/, line(await engine.cli(['exec', '-i', name, 'cat'], { input: 'typed' })));
  check('exec: killed by a signal', /^137:/, await run([], 'sh', '-c', 'kill -9 $$'));
  check('exec: no such executable', /^127: .*(no such file or directory|not found)/i, await run([], '/no/such'));
  check('exec: not executable', /^126: .*permission denied/i, await run([], '/etc/plain'));
  check('exec: no such directory', /^12[67]: .*(no such file|chdir)/i, await run(['-w', '/no/such'], 'true'));
  check(
    'exec: --privileged',
    /CapEff: 0{5,6}[13][0-9a-f]{9,10}$/,
    await run(['--privileged'], 'grep', 'CapEff', '/proc/self/status'),
  );
  await run(['-d'], 'sh', '-c', 'echo here > /tmp/detached');
  check(
    'exec: detached',
    /^0: here$/,
    await until(
      () => run([], 'cat', '/tmp/detached'),
      (text) => text.startsWith('0'),
    ),
  );
  check(
    "exec: in the container's group",
    /^0: same$/,
    await run([], 'sh', '-c', '[ "$(cat /proc/1/cgroup)" = "$(cat /proc/self/cgroup)" ] && echo same'),
  );
}

async function look(engine: Engine, check: Check, name: string): Promise<void> {
  check('logs', /^0: begun more$/, await engine.line('logs', name));
  const pid = await engine.inspect(name, '{{.State.Pid}}');
  check("inspect: the pid is the container's", /^sh (containerd-shim|conmon)$/, `${comm(pid)} ${comm(parent(pid))}`);
  check('top', /^0: .*\bsh -c/, await engine.line('top', name));
  check(
    'ps',
    new RegExp(`^0: ${name} Up`),
    await engine.line('ps', '--filter', `name=${name}`, '--format', '{{.Names}} {{.Status}}'),
  );
  const { code, stdout } = await engine.cli([
    'stats',
    '--no-stream',
    '--format',
    '{{.MemUsage}}|{{.PIDs}}|{{.CPUPerc}}',
    name,
  ]);
  const [memory = '', pids = '', cpu = ''] = stdout.trim().split('|');
  const used = Number.parseFloat(memory) > 0 && /\/ 6[47]/.test(memory) ? 'used' : memory;
  check(
    'stats',
    /^0 used, few, %$/,
    `${code} ${used}, ${Number(pids) >= 1 && Number(pids) < 9 ? 'few' : pids}, ${/^\d/.test(cpu) ? '%' : cpu}`,
  );
}

const comm = (pid: string): string =>
  existsSync(`/proc/${pid}/comm`) ? readFileSync(`/proc/${pid}/comm`, 'utf8').trim() : 'gone';
const parent = (pid: string): string =>
  / (\d+) /.exec(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\) \w/, ''))?.[1] ?? '';

async function pause(engine: Engine, check: Check, name: string): Promise<void> {
  const { code } = await engine.cli(['pause', name]);
  check('pause', /^0 paused$/, `${code} ${await engine.inspect(name, '{{.State.Status}}')}`);
  const pid = await engine.inspect(name, '{{.State.Pid}}');
  const ticks = (): string => readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ').slice(13, 17).join(' ');
  const first = ticks();
  await new Promise((resolve) => setTimeout(resolve, 400));
  check('pause: nothing runs', /^same$/, first === ticks() ? 'same' : 'it runs');
  check(
    'exec in a paused container',
    /^(1|125|255): .*(paused|improper|not running)/i,
    await engine.line('exec', name, 'true'),
  );
  const { code: back } = await engine.cli(['unpause', name]);
  check('unpause', /^0 running$/, `${back} ${await engine.inspect(name, '{{.State.Status}}')}`);
}

async function copy(engine: Engine, check: Check, name: string): Promise<void> {
  const file = `/tmp/copied-${engine.peer}-${engine.runtime}`;
  writeFileSync(file, 'from outside');
  const { code, stderr } = await engine.cli(['cp', file, `${name}:/tmp/in`]);
  check('cp: into', /^0 0: from outside$/, `${code} ${stderr}${await engine.line('exec', name, 'cat', '/tmp/in')}`);
  const out = await engine.cli(['cp', `${name}:/etc/plain`, `${file}.out`]);
  check(
    'cp: out of',
    /^0 text$/,
    `${out.code} ${existsSync(`${file}.out`) ? readFileSync(`${file}.out`, 'utf8').trim() : out.stderr}`,
  );
}

async function update(engine: Engine, check: Check, name: string): Promise<void> {
  const swap = ['--memory', '96m', '--memory-swap', '96m', '--cpus', '0.25'];
  const { code, stderr } = await engine.cli(['update', ...swap, name]);
  const limits =
    'cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null';
  check(
    'update',
    /^0 \d: 100663296 25000( 100000)?$/,
    `${code} ${stderr}${await engine.line('exec', name, 'sh', '-c', limits)}`,
  );
}

export const ending: Scenario<Engine> = {
  name: 'ending',
  async play(engine, check) {
    const trap = await engine.start([], loop('trap "exit 9" TERM; trap "echo usr1" USR1'));
    await engine.cli(['kill', '-s', 'USR1', trap]);
    check(
      'kill: a signal that is handled',
      /usr1/,
      await until(
        () => engine.line('logs', trap),
        (text) => text.includes('usr1'),
      ),
    );
    const waiting = engine.cli(['wait', trap]);
    check(
      'stop: the program ends itself',
      /^0 exited 9$/,
      `${(await engine.cli(['stop', '-t', '20', trap])).code} ${await ended(engine, trap)}`,
    );
    check('wait', /^0: 9$/, line(await waiting));
    const deaf = await engine.start([], loop('trap "" TERM'));
    check(
      'stop: the program is ended',
      /^0 exited 137$/,
      `${(await engine.cli(['stop', '-t', '1', deaf])).code} ${await ended(engine, deaf)}`,
    );
    const greedy = await engine.start(
      ['-m', '16m', '--memory-swap', '16m'],
      ['sh', '-c', 'sleep 0.5; tail /dev/zero; code=$?; sleep 0.5; exit $code'],
    );
    const oom = `${await ended(engine, greedy)} ${await engine.inspect(greedy, '{{.State.OOMKilled}}')}`;
    check('limits: out of memory is told', /^exited 137 true$/, oom);
    const again = await engine.start(['--restart', 'on-failure:2'], ['sh', '-c', 'exit 3']);
    const count = (): Promise<string> =>
      engine.inspect(again, '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}');
    check('restart policy: on-failure:2', /^2 exited 3$/, await until(count, (text) => text.startsWith('2 exited')));
    const always = await engine.start(['--restart', 'always'], ['sh', '-c', 'sleep 0.3']);
    const restarts = await until(
      () => engine.inspect(always, '{{.RestartCount}}'),
      (text) => Number(text) >= 2,
    );
    check('restart policy: always', /^more$/, Number(restarts) >= 2 ? 'more' : restarts);
    await engine.remove(trap, deaf, greedy, again, always);
    await health(engine, check);
    await joined(engine, check);
  },
};

async function health(engine: Engine, check: Check): Promise<void> {
  const every = engine.peer === 'docker' ? '500ms' : 'disable'; // podman's timers are systemd's
  const flags = ['--health-cmd', 'test -e /tmp/well', '--health-interval', every, '--health-retries', '1'];
  const name = await engine.start(flags, loop());
  const [key, status] = ['{{.State.Health.Status}}', async () => engine.inspect(name, key)];
  const probe = async (): Promise<string> => {
    if (engine.peer === 'podman') await engine.cli(['healthcheck', 'run', name]);
    return status();
  };
  check('health check: unhealthy', /^unhealthy$/, await until(probe, (text) => text === 'unhealthy', 10));
  await engine.cli(['exec', name, 'touch', '/tmp/well']);
  check('health check: healthy', /^healthy$/, await until(probe, (text) => text === 'healthy', 10));
  await engine.remove(name);
}

/** Namespaces of one container are shared by another. */
async function joined(engine: Engine, check: Check): Promise<void> {
  const first = await engine.start(['--ipc=shareable', '-h', 'first'], loop());
  const flags = [`--pid=container:${first}`, `--ipc=container:${first}`, `--network=container:${first}`];
  const seen = await engine.sh(
    flags,
    'grep -c . /proc/1/cmdline; ls -l /proc/1/ns /proc/self/ns | grep -E " (net|ipc|pid) " | sed "s/.*-> //" | sort -u | wc -l',
  );
  check('namespaces: of another container', /^0: \d 3$/, seen);
  await engine.remove(first);
}
