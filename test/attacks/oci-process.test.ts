/** ATTACKS against keelson-oci itself: what a process in a container finds of the runtime and of the host, and what it is allowed. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { keelBinary } from '../../src/kernel/keel.ts';
import type { Process, Spec } from '../../src/spec/runtime.ts';
import { checkout } from '../support/engine.ts';
import { type HostileFiles, outsideOf } from '../support/hostile-files.ts';
import { Oci, ociBinary } from '../support/oci.ts';

const built = mkdtempSync(join(tmpdir(), 'keelson-probe-'));
const probe = join(built, 'probe');
execFileSync('cc', ['-static', '-Os', '-o', probe, join(import.meta.dirname, '../support/probe.c')]);
after(() => rmSync(built, { recursive: true }));

const sets = ['bounding', 'effective', 'permitted'] as const;
const process_ = (change: Partial<Process>) => (spec: Spec) => ({
  ...spec,
  ...(spec.process && { process: { ...spec.process, ...change } }),
});
const capable = (...names: string[]) => process_({ capabilities: Object.fromEntries(sets.map((set) => [set, names])) });
const all =
  (...changes: ((spec: Spec) => Spec)[]) =>
  (spec: Spec) =>
    changes.reduce((changed, change) => change(changed), spec);
const writable = (spec: Spec) => ({ ...spec, root: { path: 'rootfs', readonly: false } });
const unmasked = (spec: Spec) => ({ ...spec, linux: { ...spec.linux, maskedPaths: [], readonlyPaths: [] } });

function bundle(oci: Oci, args: readonly string[], change?: (spec: Spec) => Spec, files?: HostileFiles): string {
  const path = oci.bundle(args, change, files);
  copyFileSync(probe, join(path, 'rootfs/bin/probe'));
  return path;
}

/** A container that may look into others, and one that waits in its pid namespace to be started. */
async function beside(oci: Oci, env: Readonly<Record<string, string>> = {}): Promise<{ pid: number; inside: string }> {
  const looking = all(capable('CAP_SYS_PTRACE', 'CAP_DAC_OVERRIDE', 'CAP_DAC_READ_SEARCH', 'CAP_KILL'), unmasked);
  assert.equal((await oci.command('run', '-d', '-b', bundle(oci, ['sleep', '1000'], looking), 'a')).code, 0);
  const first = Number((await oci.state('a'))['pid']);
  const waiting = oci.bundle(['sleep', '1000'], (spec) => ({
    ...spec,
    linux: {
      ...spec.linux,
      namespaces: (spec.linux?.namespaces ?? []).map((n) =>
        n.type === 'pid' ? { ...n, path: `/proc/${first}/ns/pid` } : n,
      ),
    },
  }));
  const created = await oci.with({ env }, 'create', '-b', waiting, 'b');
  assert.equal(created.code, 0, created.stderr);
  const pid = Number((await oci.state('b'))['pid']);
  const inside = /^NSpid:.*\s(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
  return { pid, inside };
}

describe('what waits to be started', () => {
  test('2016-9962: has no descriptor of the host but its streams and its gate, and no directory at all', async () => {
    await using oci = new Oci();
    const { pid, inside } = await beside(oci);
    const targets = readdirSync(`/proc/${pid}/fd`)
      .map(Number)
      .filter((fd) => fd > 2)
      .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/:\[\d+\]$/, ''))
      .filter((target) => target !== 'anon_inode:[signalfd]'); // it waits for signals, too
    assert.deepEqual(targets.toSorted(), [join(oci.root, 'b/exec.fifo'), 'pipe']);
    const { stdout, stderr } = await oci.command('exec', 'a', 'probe', 'take', inside);
    assert.match(stdout, /^0 /m, `it does look: ${stderr}`);
    assert.deepEqual(
      stdout.split('\n').filter((line) => /directory|^([3-9]|\d\d) socket/.test(line)),
      [],
    );
    const looked = await oci.command(
      'exec',
      'a',
      'sh',
      '-c',
      `ls /proc/${inside}/root/usr /proc/${inside}/cwd/usr; echo`,
    );
    assert.equal(looked.stdout, '\n');
  });

  test('has nothing of the environment of whoever called the runtime, in no place of its memory', async () => {
    await using oci = new Oci();
    const secret = `5ecret${process.pid}of${Date.now()}`;
    const { pid, inside } = await beside(oci, { SECRET_OF_THE_CALLER: secret });
    const { stdout } = await oci.command('exec', 'a', 'cat', `/proc/${inside}/environ`);
    assert.ok(stdout.length > 0);
    assert.doesNotMatch(stdout, new RegExp(`${secret}|PATH=`));
    assert.ok(!memoryOf(pid).includes(secret));
    assert.ok(memoryOf(process.pid).includes(secret), 'it would be found');
  });

  test('2019-5736: does not let its program be written', async () => {
    await using oci = new Oci();
    const hash = () => execFileSync('sha256sum', [keelBinary(), join(checkout, 'dist/planner.mjs')]).toString();
    const before = hash();
    const { inside } = await beside(oci);
    // As long as a keel runs nobody may write it; so its file is kept open until all have ended.
    const script = `exec 3</proc/${inside}/exe; kill -9 ${inside}
      for turn in $(seq 40); do
        sleep 0.5; said=$( (echo x >> /proc/self/fd/3) 2>&1); case $said in *busy*) ;; *) break;; esac
      done
      echo "$said"; echo done`;
    await oci.command('exec', '-d', 'a', 'sh', '-c', `(${script}) > /dev/shm/said 2>&1`);
    let stdout = '';
    for (const deadline = Date.now() + 25_000; !stdout.includes('done') && Date.now() < deadline; await sleep(200)) {
      ({ stdout } = await oci.command('exec', 'a', 'cat', '/dev/shm/said'));
    }
    assert.match(stdout, /\/fd\/3: (Read-only file system|Operation not permitted)\ndone\n$/);
    assert.equal(hash(), before);
  });

  function memoryOf(pid: number): Buffer {
    const memory = openSync(`/proc/${pid}/mem`, 'r');
    const writableParts = readFileSync(`/proc/${pid}/maps`, 'utf8')
      .split('\n')
      .filter((line) => / rw/.test(line));
    const parts = writableParts.flatMap((line) => {
      const [from = 0n, to = 0n] = (/^(\w+)-(\w+)/.exec(line) ?? []).slice(1).map((hex) => BigInt(`0x${hex}`));
      if (to - from > 64n << 20n) return [];
      const part = Buffer.alloc(Number(to - from));
      try {
        return [part.subarray(0, readSync(memory, part, 0, part.length, from))];
      } catch (error) {
        // Of this process, which goes on meanwhile, a part may be gone.
        if (pid === process.pid) return [];
        throw error;
      }
    });
    closeSync(memory);
    return Buffer.concat(parts);
  }
});

describe('what enters a container', () => {
  test('2016-9962, 2024-21626: shows it nothing of the host', async () => {
    await using oci = new Oci();
    const host = outsideOf(oci.directory);
    const secret = `5ecret${process.pid}`;
    const watch = `while :; do
      for p in /proc/[0-9]*; do
        case $p in /proc/1) continue;; esac
        for fd in $p/fd/*; do ls -l $fd; done; cat $p/root${host.path}/file $p/cwd/file; cat $p/environ | grep -ao ${secret}
      done
    done 2>/dev/null > /tmp/seen`;
    const looking = all(capable('CAP_SYS_PTRACE', 'CAP_DAC_READ_SEARCH'), unmasked, writable);
    const path = bundle(oci, ['sh', '-c', watch], looking);
    assert.equal((await oci.command('run', '-d', '-b', path, 'a')).code, 0);
    for (const end = Date.now() + 6000; Date.now() < end; ) {
      const { stdout } = await oci.with({ cwd: host.path, env: { SECRET: secret } }, 'exec', 'a', 'echo', 'hello');
      assert.equal(stdout, 'hello\n');
    }
    const seen = readFileSync(join(path, 'rootfs/tmp/seen'), 'utf8');
    assert.doesNotMatch(seen, new RegExp(`${secret}|the host’s`));
    // ls prints no target where the descriptor was closed meanwhile.
    const lines = seen.split('\n').filter((line) => line.includes(' -> '));
    const targets = new Set(lines.map((line) => line.replace(/^.* -> /, '').replace(/:?\[\d+\]$/, '')));
    const harmless = /^(|\/dev\/null|\/proc\/\d+\/fd|\/proc|pipe|socket|anon_inode.*|\/bin\/busybox|\/tmp\/seen|\/)$/;
    assert.deepEqual(
      [...targets].filter((target) => !harmless.test(target)),
      [],
    );
  });

  test('2024-21626: no working directory leads out, in run and exec, nor through a descriptor that is preserved', async () => {
    await using oci = new Oci();
    const out = /^(lost\+found|debian_version)$/m;
    const script = ['sh', '-c', 'ls ../../../.. ../../../../etc'];
    assert.equal((await oci.command('run', '-d', '-b', oci.bundle(['sleep', '1000']), 'a')).code, 0);
    for (let fd = 0; fd < 16; fd++) {
      for (const cwd of [`/proc/self/fd/${fd}`, `/proc/self/fd/${fd}/..`]) {
        const ran = await oci.command('run', '-b', oci.bundle(script, process_({ cwd })), `fd${fd}`);
        const entered = await oci.command('exec', '--cwd', cwd, 'a', ...script);
        for (const { stdout } of [ran, entered]) assert.doesNotMatch(stdout, out, cwd);
      }
    }
    const cwd = '/proc/self/fd/3';
    const run = ['--root', oci.root, 'run', '--preserve-fds', '1', '-b', oci.bundle(script, process_({ cwd })), 'kept'];
    const exec = ['--root', oci.root, 'exec', '--preserve-fds', '1', '--cwd', cwd, 'a', ...script];
    for (const words of [run, exec]) {
      const shell = `exec 3</; ${[ociBinary, ...words].map((word) => `'${word}'`).join(' ')}; true`;
      const text = execFileSync('sh', ['-c', shell], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
      assert.doesNotMatch(text, out);
    }
  });

  test('2019-5736: does not let the runtime be written when it is executed again', async () => {
    await using oci = new Oci();
    const hash = () => execFileSync('sha256sum', [keelBinary(), join(checkout, 'dist/planner.mjs')]).toString();
    const before = hash();
    const files = { 'bin/again': '#!/proc/self/exe\n' };
    const overwrite = 'while :; do for p in /proc/[0-9]*; do echo x >> $p/exe; done; done 2>/dev/null';
    const path = oci.bundle(
      ['sh', '-c', overwrite],
      all(capable('CAP_SYS_PTRACE', 'CAP_DAC_OVERRIDE'), unmasked),
      files,
    );
    chmodSync(join(path, 'rootfs/bin/again'), 0o755);
    assert.equal((await oci.command('run', '-d', '-b', path, 'a')).code, 0);
    for (let turn = 0; turn < 8; turn++) {
      for (const command of ['/proc/self/exe', '/bin/again', 'true']) await oci.command('exec', 'a', command);
    }
    for (const command of ['/proc/self/exe', '/bin/again']) {
      const again = oci.bundle([command], (spec) => spec, files);
      chmodSync(join(again, 'rootfs/bin/again'), 0o755);
      await oci.command('run', '-b', again, 'again');
    }
    assert.equal(hash(), before);
  });

  test('has no session keyring of the host’s', async () => {
    await using oci = new Oci();
    const path = bundle(oci, ['probe', 'find-secret']);
    const call = (...words: string[]) =>
      execFileSync(probe, ['keyring', ociBinary, '--root', oci.root, ...words], { encoding: 'utf8' });
    assert.equal(execFileSync(probe, ['keyring', probe, 'find-secret'], { encoding: 'utf8' }), 'done\n', 'it is there');
    assert.equal(call('run', '-b', path, 'a'), 'ENOKEY\n');
    await oci.command('run', '-d', '-b', bundle(oci, ['sleep', '1000']), 'b');
    assert.equal(call('exec', 'b', 'probe', 'find-secret'), 'ENOKEY\n');
    assert.equal(call('run', '--no-new-keyring', '-b', path, 'c'), 'done\n', 'unless it is asked for');
  });

  test('is not held up by what the image has as /etc/passwd', async () => {
    await using oci = new Oci();
    const path = oci.bundle(['sh', '-c', 'echo $HOME; sleep 1000'], process_({ env: ['PATH=/bin'] }));
    execFileSync('mkfifo', [join(path, 'rootfs/etc/passwd')]);
    assert.equal((await oci.command('run', '-d', '-b', path, 'a')).code, 0);
    assert.equal((await oci.command('exec', 'a', 'sh', '-c', 'echo $HOME')).stdout, '/\n');
    rmSync(join(path, 'rootfs/etc/passwd'));
    writeFileSync(join(path, 'rootfs/etc/passwd'), `${'x'.repeat(8 << 20)}\nroot:x:0:0::/late:/bin/sh\n`);
    assert.equal((await oci.command('exec', 'a', 'sh', '-c', 'echo $HOME')).stdout, '/\n');
  });
});

describe('who one is inside', () => {
  test('2022-29162: no capability is inheritable, in run and exec, nor with --cap', async () => {
    await using oci = new Oci();
    const status = ['grep', 'Cap', '/proc/self/status'];
    const none = /^CapInh:\s+0+$/m;
    for (const change of [(spec: Spec) => spec, process_({ user: { uid: 1000, gid: 1000 } })]) {
      assert.match((await oci.command('run', '-b', oci.bundle(status, change), 'run')).stdout, none);
      await oci.command('run', '-d', '-b', oci.bundle(['sleep', '1000'], change), 'a');
      assert.match((await oci.command('exec', 'a', ...status)).stdout, none);
      assert.match((await oci.command('exec', '--cap', 'CAP_NET_RAW', 'a', ...status)).stdout, none);
      await oci.command('delete', '-f', 'a');
    }
    await oci.with({ cwd: oci.directory }, 'spec');
    assert.doesNotMatch(readFileSync(join(oci.directory, 'config.json'), 'utf8'), /inheritable/);
  });

  test('crun 2026-30892: exec has the user that was asked for, in every form, and no form means root', async () => {
    await using oci = new Oci();
    await oci.command('run', '-d', '-b', oci.bundle(['sleep', '1000'], process_({ user: { uid: 5, gid: 6 } })), 'a');
    const ids = ['sh', '-c', 'echo $(id -u) $(id -g)'];
    for (const [user, expected] of [
      ['1', '1 6'],
      ['1:2', '1 2'],
      ['01', '1 6'],
      ['0', '0 6'],
      ['0:0', '0 0'],
      ['4294967294:4294967294', '4294967294 4294967294'],
    ] as const) {
      assert.equal((await oci.command('exec', '-u', user, 'a', ...ids)).stdout, `${expected}\n`, user);
    }
    for (const user of [
      '',
      '-1',
      '4294967295',
      '4294967296',
      '1:',
      ':1',
      '1:2:3',
      '1:4294967295',
      '1e0',
      '0x1',
      ' 1',
      '+1',
      'root',
    ]) {
      const { code, stdout } = await oci.command('exec', '-u', user, 'a', ...ids);
      assert.deepEqual([code, stdout], [255, ''], `user ${JSON.stringify(user)}`);
    }
    for (const uid of [4294967295, 4294967296, -1]) {
      const process = join(oci.directory, 'process.json');
      writeFileSync(process, JSON.stringify({ cwd: '/', args: ids, env: ['PATH=/bin'], user: { uid, gid: 0 } }));
      assert.deepEqual((await oci.command('exec', '-p', process, 'a')).stdout, '');
    }
  });

  test('a seccomp filter holds for every architecture, for exec, and for the image’s programs that hooks name', async () => {
    await using oci = new Oci();
    const filtered = (spec: Spec): Spec => ({
      ...spec,
      linux: {
        ...spec.linux,
        seccomp: {
          defaultAction: 'SCMP_ACT_ALLOW',
          architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
          syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }],
        },
      },
    });
    const one = (spec: Spec): Spec => {
      const { linux } = filtered(spec);
      return {
        ...spec,
        linux: { ...linux, seccomp: { ...linux?.seccomp, defaultAction: 'SCMP_ACT_ALLOW', architectures: [] } },
      };
    };
    const refused = /native EPERM\nx32 E\w+\n(compat refused\n)?$/;
    assert.match(
      (await oci.command('run', '-b', bundle(oci, ['probe', 'mkdir'], all(filtered, writable)), 'r')).stdout,
      refused,
    );
    const narrow = await oci.command('run', '-b', bundle(oci, ['probe', 'mkdir'], all(one, writable)), 'n');
    assert.doesNotMatch(narrow.stdout, /done/, 'an architecture that is not named is not a way around');
    for (const noNewPrivileges of [true, false]) {
      const hooked = all(filtered, writable, capable('CAP_CHOWN'), process_({ noNewPrivileges }), (spec) => ({
        ...spec,
        hooks: {
          startContainer: [
            {
              path: '/bin/sh',
              args: ['sh', '-c', 'cat /proc/self/status > /tmp/hook; probe mkdir > /tmp/made'],
              env: ['PATH=/bin'],
            },
          ],
        },
      }));
      const path = bundle(oci, ['sleep', '1000'], hooked);
      const { code, stderr } = await oci.command('run', '-d', '-b', path, 'h');
      assert.equal(code, 0, stderr);
      assert.match((await oci.command('exec', 'h', 'probe', 'mkdir')).stdout, refused);
      const status = readFileSync(join(path, 'rootfs/tmp/hook'), 'utf8');
      assert.match(status, /^Seccomp:\s+2$/m);
      assert.match(status, /^CapEff:\s+0000000000000001$/m);
      assert.match(status, new RegExp(`^NoNewPrivs:\\s+${noNewPrivileges ? 1 : 0}$`, 'm'));
      assert.match(readFileSync(join(path, 'rootfs/tmp/made'), 'utf8'), refused);
      await oci.command('delete', '-f', 'h');
    }
  });

  test('hooks run with the streams of their own and nothing else that is open', async () => {
    await using oci = new Oci();
    const list = (name: string) => [
      {
        path: '/bin/sh',
        args: ['sh', '-c', `ls -l /proc/self/fd > ${oci.directory}/${name}; pwd >> ${oci.directory}/${name}`],
      },
    ];
    const path = oci.bundle(['true'], (spec) => ({
      ...spec,
      hooks: {
        prestart: list('prestart'),
        createRuntime: list('createRuntime'),
        createContainer: list('createContainer'),
        poststart: list('poststart'),
      },
    }));
    assert.equal((await oci.command('run', '-b', path, 'h')).code, 0);
    for (const name of ['prestart', 'createRuntime', 'createContainer', 'poststart']) {
      const text = readFileSync(join(oci.directory, name), 'utf8');
      assert.deepEqual(
        [...text.matchAll(/ (\d+) -> /g)].map(([, fd]) => fd),
        ['0', '1', '2', '3'],
        `${name}: 3 is of ls`,
      );
    }
  });
});

describe('what one may do inside', () => {
  test('2022-0492: groups of the host are not to be written, and devices not to be opened', async () => {
    await using oci = new Oci();
    const script = `for f in $(ls -d /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs); do echo 0 > $f && echo wrote $f; done
      mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x && echo made
      mount -t cgroup -o memory none /tmp && echo mounted
      mount -o remount,rw /sys/fs/cgroup && echo remounted`;
    const path = oci.bundle(['sh', '-c', `${script}; echo end`], all(writable, capable('CAP_DAC_OVERRIDE')));
    assert.equal((await oci.command('run', '-b', path, 'cgroups')).stdout, 'end\n');
    const devices = (spec: Spec): Spec => ({
      ...spec,
      linux: {
        ...spec.linux,
        devices: [
          { path: '/disk', type: 'c', major: 1, minor: 1, fileMode: 0o666 },
          { path: '/kmsg', type: 'c', major: 1, minor: 11, fileMode: 0o666 },
        ],
      },
    });
    const open = oci.bundle(
      ['sh', '-c', 'head -c1 /disk && echo read; head -c1 /kmsg && echo read; cat /dev/null && echo null'],
      all(devices, writable),
    );
    assert.equal((await oci.command('run', '-b', open, 'devices')).stdout, 'null\n');
  });

  test('2023-25809: without a cgroup namespace one sees one’s own groups only, and those read-only', async () => {
    await using oci = new Oci();
    const path = oci.bundle(
      ['sh', '-c', 'mkdir /sys/fs/cgroup/x; mkdir /sys/fs/cgroup/*/x; ls /sys/fs/cgroup /sys/fs/cgroup/*; true'],
      all(capable('CAP_DAC_OVERRIDE'), (spec) => ({
        ...spec,
        linux: {
          ...spec.linux,
          cgroupsPath: '/keelson/mine',
          namespaces: (spec.linux?.namespaces ?? []).filter((n) => n.type !== 'cgroup'),
        },
      })),
    );
    const { stdout, stderr } = await oci.command('run', '-b', path, 'mine');
    assert.match(stdout, /cgroup\.procs/);
    assert.doesNotMatch(stdout, /^(keelson|mine|init|x)$/m);
    assert.match(stderr, /Read-only file system/);
  });

  test('the planner does not listen to a container’s users that are not its own, wherever its socket is seen', async () => {
    await using oci = new Oci();
    const sockets = '/run/keelson/planner';
    await oci.command('--version');
    const [name = ''] = readdirSync(sockets).filter((entry) => entry !== 'lock');
    const mount = { destination: '/run', type: 'bind', source: '/run', options: ['rbind'] };
    const seen = (spec: Spec) => ({ ...spec, mounts: [...(spec.mounts ?? []), mount] });
    const mapped = (spec: Spec): Spec => ({
      ...spec,
      linux: {
        ...spec.linux,
        namespaces: [...(spec.linux?.namespaces ?? []), { type: 'user' }],
        uidMappings: [{ containerID: 0, hostID: 100000, size: 65536 }],
        gidMappings: [{ containerID: 0, hostID: 100000, size: 65536 }],
      },
    });
    for (const change of [mapped, process_({ user: { uid: 1000, gid: 0 } })]) {
      const path = bundle(oci, ['probe', 'dial', join(sockets, name)], all(seen, writable, change));
      mkdirSync(join(path, 'rootfs/run'));
      chmodSync(path, 0o755);
      chmodSync(oci.directory, 0o755);
      const { stdout, stderr } = await oci.command('run', '-b', path, 'dial');
      assert.equal(stdout, 'EACCES\n', stderr);
    }
  });

  test('2021-43784: numbers and texts too long for their place are refused, not cut', async () => {
    await using oci = new Oci();
    const long = `/${'x'.repeat(70_000)}`;
    for (const change of [
      (spec: Spec): Spec => ({
        ...spec,
        linux: { ...spec.linux, namespaces: [{ type: 'mount' }, { type: 'network', path: long }] },
      }),
      (spec: Spec): Spec => ({ ...spec, linux: { ...spec.linux, cgroupsPath: long } }),
      (spec: Spec): Spec => ({ ...spec, hostname: 'x'.repeat(65) }),
      (spec: Spec): Spec => ({
        ...spec,
        linux: {
          ...spec.linux,
          namespaces: [{ type: 'mount' }, { type: 'user' }],
          uidMappings: Array.from({ length: 341 }, (_, i) => ({ containerID: i, hostID: i, size: 1 })),
        },
      }),
    ]) {
      const { code, stderr } = await oci.command('run', '-b', oci.bundle(['true'], change), 'long');
      assert.equal(code, 1);
      assert.match(stderr, /ENAMETOOLONG|config\.json/);
      assert.match((await oci.command('state', 'long')).stderr, /does not exist/);
    }
  });
});
