/** docker and podman: containers that run once. Each carries many tasks, since starting one is what costs time. */
import { readlinkSync, writeFileSync } from 'node:fs';
import { line, run } from './process.ts';
import type { Check, Engine, Scenario } from './scenario.ts';

/** [task, shell script, what its output must be] */
type Task = readonly [name: string, script: string, expected: RegExp];
interface Group {
  readonly flags: readonly string[];
  readonly tasks: readonly Task[];
}

const cgroup = (...names: string[]): string =>
  `cat ${names.map((name) => `/sys/fs/cgroup/${name}`).join(' ')} 2>/dev/null`;

/** `/dev/nought` is a node without a driver: what the device group lets pass ends there. */
const groups: readonly Group[] = [
  {
    flags: [
      '-e',
      'A=b',
      '-w',
      '/home/user',
      '-h',
      'named',
      '--group-add',
      '77',
      '--ulimit',
      'nofile=123:456',
      '--ulimit',
      'nproc=1000:1000',
      '--oom-score-adj',
      '321',
    ],
    tasks: [
      ['run: environment and directory', 'echo $A $PWD', /^b \/home\/user$/],
      ['run: host name', 'hostname', /^named$/],
      ['user: --group-add', 'id -G', /\b77\b/],
      ['limits: --ulimit', 'grep "Max open files" /proc/self/limits', /Max open files 123 456 files/],
      ['limits: --oom-score-adj', 'cat /proc/self/oom_score_adj', /^321$/],
      ['capabilities: default', 'grep CapEff /proc/self/status', /CapEff: 00000000(a80425fb|800405fb)$/],
      ['security: seccomp by default', 'grep Seccomp: /proc/self/status', /: 2$/],
      ['security: masked paths', 'cat /proc/timer_list /proc/keys | wc -c; ls /proc/acpi 2>/dev/null | wc -l', /^0 0$/],
      ['security: read-only paths', 'echo 1 > /proc/sys/kernel/domainname', /(Read-only|nonexistent|Permission)/],
      ["devices: none of the host's", 'mknod /tmp/m b 7 0; cat /tmp/m', /Operation not permitted/],
      ['devices: the usual ones', 'ls /dev | tr "\\n" " "', /full .*null .*ptmx pts random shm .*tty urandom zero/],
      ['namespaces: no network', 'ls /sys/class/net | tr "\\n" " "', /^lo$/],
    ],
  },
  {
    flags: [
      ...['-m', '48m', '--pids-limit', '33', '--cpus', '0.5', '--cpu-shares', '512', '--cpuset-cpus', '0'],
      ...['--shm-size', '128k', '--tmpfs', '/scratch:size=64k,mode=700', '--device', '/tmp/node:/dev/nought:r'],
      ...['-v', '/tmp/shared:/mnt', '-v', '/tmp/shared:/ro:ro', '-v', '/tmp/shared/file:/made/file', '-v', '/home'],
      ...[
        '--sysctl',
        'net.ipv4.ip_default_ttl=42',
        '--security-opt=no-new-privileges',
        '--cap-drop=ALL',
        '--read-only',
      ],
      ...['--cgroupns=private', '--init'],
    ],
    tasks: [
      ['limits: memory', cgroup('memory.max', 'memory/memory.limit_in_bytes'), /^50331648$/],
      ['limits: processes', cgroup('pids.max', 'pids/pids.max'), /^33$/],
      ['limits: --cpus', cgroup('cpu.max', 'cpu/cpu.cfs_quota_us'), /^50000( 100000)?$/],
      ['limits: --cpu-shares', cgroup('cpu.weight', 'cpu/cpu.shares'), /^(512|20|59)$/],
      ['limits: --cpuset-cpus', 'grep Cpus_allowed_list /proc/self/status', /^Cpus_allowed_list: 0$/],
      ['mounts: --shm-size', 'grep " /dev/shm " /proc/mounts', /size=128k/],
      ['mounts: tmpfs with a size', 'grep " /scratch " /proc/mounts; stat -c %a /scratch', /size=64k.* 700$/],
      ['mounts: bind', 'cat /mnt/file; touch /mnt/touched && echo written', /^text written$/],
      ['mounts: read-only bind', 'touch /ro/x', /Read-only file system/],
      ['mounts: bind of one file', 'cat /made/file', /^text$/],
      ["mounts: the image's files in a new volume", 'ls /home; touch /home/x && echo written', /^user written$/],
      ['mounts: --read-only', 'touch /x', /Read-only file system/],
      [
        'devices: one more, to be read alone',
        'head -c 1 /dev/nought; echo > /dev/nought',
        /No such device.*not permitted/,
      ],
      ['kernel: --sysctl', 'cat /proc/sys/net/ipv4/ip_default_ttl', /^42$/],
      ['security: no-new-privileges', 'grep NoNewPrivs /proc/self/status', /: 1$/],
      ['capabilities: --cap-drop=ALL', 'grep CapEff /proc/self/status', /CapEff: 0000000000000000$/],
      ['run: an init of its own', 'cat /proc/1/comm', /^(docker-init|tini|catatonit|podman-init)$/],
      ['namespaces: own cgroup namespace', 'cut -d: -f3 /proc/self/cgroup | sort -u', /^\/$/],
    ],
  },
  {
    flags: ['--privileged', '--pid=host', '--ipc=host', '--uts=host', '--network=host'],
    tasks: [
      [
        'security: --privileged',
        'grep CapEff /proc/self/status; mount -t tmpfs none /tmp && ls /dev/kmsg',
        /CapEff: 00000[0-9a-f]{11} \/dev\/kmsg/,
      ],
      ["namespaces: the host's network", 'ls /sys/class/net', /\bout0\b/],
      ["namespaces: the host's processes", 'test $$ -gt 1 && cat /proc/*/comm 2>/dev/null | grep -c dockerd', /^[1-9]/],
      ["namespaces: the host's IPC", 'readlink /proc/self/ns/ipc', /^OWN$/],
      ["namespaces: the host's name", 'readlink /proc/self/ns/uts', /^OWN$/],
      ["run: what is left in the host's pid namespace ends", 'sleep 60 & echo started', /^started$/],
    ],
  },
  {
    flags: [
      '--user',
      'user',
      '--cap-drop=ALL',
      '--cap-add=NET_RAW',
      '--security-opt=seccomp=/tmp/no-mkdir.json',
      '-v',
      '/tmp/shared:/mnt:rslave',
    ],
    tasks: [
      ['user: name with its groups', 'id', /^uid=1000\(user\) gid=1000\(user\) groups=1000\(user\),2000\(extra\)$/],
      ['capabilities: --cap-add', 'grep CapBnd /proc/self/status', /CapBnd: 0000000000002000$/],
      ['security: seccomp profile', 'mkdir /tmp/x', /Operation not permitted/],
    ],
  },
  {
    flags: ['--network=bridge', '--user', '1234:4321', '--security-opt=seccomp=unconfined'],
    tasks: [
      ['namespaces: a bridge', 'ip -4 -o addr show eth0', /eth0 .*inet (10|172)\./],
      ['user: numbers', 'id -u; id -g', /^1234 4321$/],
      ['security: seccomp=unconfined', 'grep Seccomp: /proc/self/status', /: 0$/],
    ],
  },
];

/** [task, flags, command, exit code and words]: what people see, and what clients look for in a runtime's words. */
const failures: readonly (readonly [string, readonly string[], readonly string[], RegExp])[] = [
  ['run: output and exit code', [], ['sh', '-c', 'echo out; echo err >&2; exit 7'], /^7: out err$/],
  ['run: killed by a signal', ['--init'], ['sh', '-c', 'kill -9 $$'], /^137:$/],
  [
    'run: terminal',
    ['-t'],
    ['sh', '-c', 'tty; test -t 0 && test -t 1 && echo yes'],
    /^0: \/dev\/(pts\/0|console) yes$/,
  ],
  [
    'limits: the process limit holds',
    ['--pids-limit', '3'],
    ['sh', '-c', 'for i in 1 2 3 4; do sleep 1 & done'],
    /^\d+: .*can't fork/,
  ],
  ['errors: no such executable', [], ['/no/such'], /^127: .*no such file or directory/i],
  ['errors: no such executable in the PATH', [], ['nosuch'], /^127: .*not found/i],
  ['errors: not executable', [], ['/etc/plain'], /^126: .*permission denied/i],
  ['errors: a directory', [], ['/etc'], /^126: .*(permission denied|is a directory)/i],
  [
    'errors: no such interpreter',
    ['-v', '/tmp/script:/script'],
    ['/script'],
    /^(1|255): .*exec.*\/script.*no such file or directory/i,
  ],
  ['errors: the directory is a file', ['-w', '/etc/plain'], ['true'], /^12[567]: .*not a directory/i],
  ['errors: a directory on a file', ['-v', '/tmp/shared:/etc/plain'], ['true'], /^12[567]: .*not a directory/i],
  ['errors: no such sysctl', ['--sysctl', 'net.nosuch=1'], ['true'], /^12[567]: .*net.nosuch/i],
];

export const once: Scenario<Engine> = {
  name: 'once',
  async play(engine, check) {
    await prepare();
    for (const group of groups) await many(engine, check, group);
    for (const [name, flags, command, expected] of failures)
      check(name, expected, line(await engine.run(flags, command)));
    const large = await engine.run(['-i'], ['sh', '-c', 'cat; head -c 3000000 /dev/zero | tr "\\0" x'], 'typed\n');
    check('run: standard input', /^typed$/, large.stdout.slice(0, 5));
    check('run: three megabytes of output', /^0 3000006$/, `${large.code} ${large.stdout.length}`);
  },
};

async function prepare(): Promise<void> {
  await run(['mknod', '/tmp/node', 'c', '1', '6']);
  writeFileSync('/tmp/script', '#!/no/interpreter\n', { mode: 0o755 });
  const names = ['mkdir', 'mkdirat'];
  const profile = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names, action: 'SCMP_ACT_ERRNO' }] };
  writeFileSync('/tmp/no-mkdir.json', JSON.stringify(profile));
}

const mark = '@@@@';

/** The scripts one after the other, each in a shell of its own. */
async function many(engine: Engine, check: Check, { flags, tasks }: Group): Promise<void> {
  const script = tasks.map(([, text]) => `(${text}) 2>&1; echo ${mark}`).join('\n');
  const result = await engine.run(flags, ['sh', '-c', script]);
  const answers = result.stdout.split(`${mark}\n`);
  for (const [at, [name, , expected]] of tasks.entries()) {
    // Fewer answers than tasks: what went wrong is said instead.
    const seen = at < answers.length - 1 ? (answers[at] ?? '').replaceAll(/\s+/g, ' ').trim() : line(result);
    check(name, expected, hostNamed(seen));
  }
}

/** A namespace of the machine's own is called OWN. */
function hostNamed(seen: string): string {
  return ['ipc', 'uts'].reduce((text, name) => text.replace(readlinkSync(`/proc/self/ns/${name}`), 'OWN'), seen);
}
