/** containerd's own client, and through it its shim (runtime v2), which calls the runtime by the path it is given. */
import { readFileSync, writeFileSync } from 'node:fs';
import { line, run, until, type Result } from './process.ts';
import type { Scenario } from './scenario.ts';
import { image, type Runtime, runtimePath } from './world.ts';

export class Ctr {
  readonly runtime: Runtime;
  #names = 0;

  constructor(runtime: Runtime) {
    this.runtime = runtime;
  }

  name(): string {
    return `ctr-${this.runtime}-${++this.#names}`;
  }

  words(flags: readonly string[], name: string, command: readonly string[]): string[] {
    return ['ctr', 'run', '--runc-binary', runtimePath(this.runtime), ...flags, image, name, ...command];
  }

  run(flags: readonly string[], command: readonly string[], input?: string): Promise<Result> {
    return run(this.words(['--rm', ...flags], this.name(), command), input === undefined ? {} : { input });
  }

  async sh(flags: readonly string[], script: string): Promise<string> {
    return line(await this.run(flags, ['sh', '-c', script]));
  }

  async line(...args: string[]): Promise<string> {
    return line(await run(['ctr', ...args]));
  }

  async start(flags: readonly string[], command: readonly string[]): Promise<string> {
    const name = this.name();
    const { code, stderr } = await run(this.words(['-d', ...flags], name, command));
    if (code !== 0) throw new Error(`ctr run -d: ${stderr}`);
    return name;
  }

  async remove(name: string): Promise<string> {
    await this.line('task', 'kill', '-s', 'KILL', name);
    await this.status(name, 'STOPPED');
    const gone = await this.line('task', 'delete', name);
    return `${gone} ${await this.line('container', 'delete', name)}`;
  }

  async status(name: string, wanted: string): Promise<string> {
    const ask = async (): Promise<string> => {
      const { stdout } = await run(['ctr', 'task', 'ls']);
      return new RegExp(`^${name}\\s+\\d+\\s+(\\w+)`, 'm').exec(stdout)?.[1] ?? 'none';
    };
    return until(ask, (text) => text === wanted, 10);
  }
}

const tasks: readonly (readonly [string, readonly string[], string, RegExp])[] = [
  ['run: output and exit code', [], 'echo out; echo err >&2; exit 7', /^7: out err$/],
  ['run: environment and directory', ['--env', 'A=b', '--cwd', '/home'], 'echo $A $PWD', /^0: b \/home$/],
  ['run: user', ['--user', '1000'], 'id -u', /^0: 1000$/],
  ['run: read-only', ['--read-only'], 'touch /x', /Read-only file system/],
  [
    'run: a mount',
    ['--mount', 'type=bind,src=/tmp/shared,dst=/mnt,options=rbind:ro'],
    'cat /mnt/file; touch /mnt/x',
    /^1: text .*Read-only/,
  ],
  ["run: the host's network", ['--net-host'], 'ls /sys/class/net', /\bout0\b/],
  ['run: privileged', ['--privileged'], 'grep CapEff /proc/self/status', /CapEff: 000001f/],
  [
    'run: fewer capabilities',
    ['--cap-drop', 'CAP_CHOWN'],
    'grep CapEff /proc/self/status',
    /CapEff: 00000000a80425fa$/,
  ],
  ['run: seccomp', ['--seccomp'], 'grep Seccomp: /proc/self/status', /Seccomp: 2$/],
  ['run: device', ['--device', '/dev/zero'], 'head -c1 /dev/zero | wc -c', /^0: 1$/],
];

export const ctr: Scenario<Ctr> = {
  name: 'ctr',
  async play(engine, check) {
    for (const [name, flags, script, expected] of tasks) {
      const seen = await engine.sh(flags, script);
      // On a busy machine the output of a short container was once lost under ctr 1.6; a second try tells that from a fault.
      check(name, expected, expected.test(seen) ? seen : await engine.sh(flags, script));
    }
    check('run: standard input', /^0: typed$/, line(await engine.run([], ['head', '-c', '5'], 'typed')));
    check(
      'run: terminal',
      /^0: \/dev\/(pts\/0|console)$/,
      await terminal(engine, engine.words(['--rm', '-t'], engine.name(), ['tty'])),
    );
    check(
      'errors: no such executable',
      /^1: .*\/no\/such.*(no such file or directory|not found)/i,
      line(await engine.run([], ['/no/such'])),
    );
    check('errors: not executable', /^1: .*permission denied/i, line(await engine.run([], ['/etc/plain'])));
    check(
      'errors: the directory is a file',
      /^1: .*not a directory/i,
      line(await engine.run(['--cwd', '/etc/plain'], ['true'])),
    );

    const mapped = ['--uidmap', '0:100000:65536', '--gidmap', '0:100000:65536'];
    check('user namespace', /^0: 0 100000 65536$/, await engine.sh(mapped, 'cat /proc/self/uid_map'));

    const limits = ['--memory-limit', '67108864', '--cpus', '0.5', '--cgroup', `/peers-${engine.runtime}`];
    const name = await engine.start(limits, ['sh', '-c', 'while :; do sleep 0.1; done']);
    check('task: list', /^RUNNING$/, await engine.status(name, 'RUNNING'));
    check('run: memory limit', /^67108864$/, await limit(name, 'memory', 'memory.limit_in_bytes', 'memory.max'));
    check('run: processors', /^50000( 100000)?$/, await limit(name, 'cpu', 'cpu.cfs_quota_us', 'cpu.max'));
    const exec = (...words: string[]): Promise<string> =>
      engine.line('task', 'exec', '--exec-id', `x${Math.random().toString(36).slice(2)}`, ...words);
    check('exec: output and exit code', /^5: out err$/, await exec(name, 'sh', '-c', 'echo out; echo err >&2; exit 5'));
    check(
      'exec: user and directory',
      /^0: 1000 \/tmp$/,
      await exec('--user', '1000', '--cwd', '/tmp', name, 'sh', '-c', 'echo $(id -u) $PWD'),
    );
    check(
      'exec: terminal',
      /^0: \/dev\/pts\/\d+$/,
      await terminal(engine, ['ctr', 'task', 'exec', '-t', '--exec-id', 'tty', name, 'tty']),
    );
    check('exec: no such executable', /^1: .*(no such file or directory|not found)/i, await exec(name, '/no/such'));
    check('pause', /^0: PAUSED$/, `${await engine.line('task', 'pause', name)} ${await engine.status(name, 'PAUSED')}`);
    check(
      'resume',
      /^0: RUNNING$/,
      `${await engine.line('task', 'resume', name)} ${await engine.status(name, 'RUNNING')}`,
    );
    check('metrics', /memory/i, await engine.line('task', 'metrics', name));
    check('ps', /^0: PID INFO \d+ /, await engine.line('task', 'ps', name));
    check('kill and delete', /^(0|137):.* 0:$/, await engine.remove(name));

    const trap = await engine.start([], ['sh', '-c', 'trap "exit 9" TERM; while :; do sleep 0.1; done']);
    await engine.line('task', 'kill', '-s', 'TERM', trap);
    await engine.status(trap, 'STOPPED');
    check('kill: a signal that is handled', /^9:|exit code 9/, await engine.line('task', 'delete', trap));
    await engine.line('container', 'delete', trap);
    check('out of memory is told', /^137: true$/, await outOfMemory(engine));
  },
};

/** With a terminal of its own, by script(1). */
async function terminal(engine: Ctr, words: readonly string[]): Promise<string> {
  const file = `/tmp/terminal-${engine.name()}.sh`;
  writeFileSync(file, `#!/bin/sh\nexec ${words.map((word) => `'${word}'`).join(' ')}\n`, { mode: 0o755 });
  // It echoes its own end of input; and a terminal that is gone before it could be resized is none of the runtime's doing.
  return line(await run(['script', '-qec', file, '/dev/null']))
    .replace(/\^@|\0/g, '')
    .replace(/ \S*ERRO\S* resize pty .*/, '')
    .trim();
}

/** A limit of a running task, as the host sees it. */
async function limit(name: string, controller: string, v1: string, v2: string): Promise<string> {
  const { stdout } = await run(['ctr', 'task', 'ls']);
  const pid = new RegExp(`^${name}\\s+(\\d+)`, 'm').exec(stdout)?.[1] ?? '0';
  const groups = readFileSync(`/proc/${pid}/cgroup`, 'utf8')
    .split('\n')
    .map((text) => text.split(':'));
  const own = groups.find(([, names = '']) => names.split(',').includes(controller));
  const top = own ? `/sys/fs/cgroup/${controller}${own[2]}/${v1}` : `/sys/fs/cgroup${groups.at(-2)?.[2]}/${v2}`;
  return readFileSync(top, 'utf8').trim();
}

async function outOfMemory(engine: Ctr): Promise<string> {
  const events = run(['timeout', '8', 'ctr', 'events']);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const { code } = await engine.run(['--memory-limit', '16777216'], ['sh', '-c', 'sleep 1; tail /dev/zero']);
  const { stdout } = await events;
  return `${code}: ${new RegExp(`/tasks/oom.*ctr-${engine.runtime}-`).test(stdout)}`;
}
