/** ATTACKS, section D: an image's configuration taken at its word. Each image is made by hand, as a hostile registry would serve it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerDefaults } from '../../src/spec/image.ts';
import { image } from '../support/hostile-image.ts';
import { openEngine } from '../support/open-engine.ts';

const run = { image: 'hostile' } as const;

describe('VOLUME', () => {
  test('2022-23648: does not copy the host’s files', async () => {
    await using e = await openEngine();
    await image(e, {
      config: { Volumes: { '/../../etc': {}, '/link/shadow.d': {}, '/direct': {} } },
      files: { 'etc/of-the-image': '', link: { link: '/../../../../etc' }, direct: { link: '../../../../../../etc' } },
    });
    const { stdout } = await e.output({ ...run, command: ['ls', '/etc', '/direct/'] });
    const host = readdirSync('/etc').filter((name) => !['hostname', 'hosts', 'resolv.conf'].includes(name));
    for (const name of stdout.split('\n')) assert.ok(!host.includes(name), `${name} is the host's`);
    assert.match(stdout, /of-the-image/);
  });

  test('2015-3631: does not hide /proc, /sys or /dev', async () => {
    await using e = await openEngine();
    for (const target of ['/proc', '/proc/sys', '/sys', '/dev', '/x/../proc']) {
      await image(e, { config: { Volumes: { [target]: {} } } }).catch((error: unknown) => {
        throw error;
      });
      await assert.rejects(e.output({ ...run, command: ['echo'] }), {
        code: 'invalid-argument',
        message: /invalid volume in the image/,
      });
      await e.engine.images.remove(e.context, 'hostile', { force: true });
      execFileSync('rm', ['-rf', join(e.scratch, 'image')]);
    }
  });
});

describe('USER', () => {
  for (const user of ['4294967296', '4294967295:0', '0:99999999999', '-1', 'root\nuser']) {
    test(`2024-40635: ${JSON.stringify(user)} is refused, not wrapped round to root`, async () => {
      await using e = await openEngine();
      await image(e, { config: { User: user } });
      await assert.rejects(e.output({ ...run, command: ['id', '-u'] }), { code: 'invalid-argument' });
    });
  }

  test('2026-46680: a user named like a number does not make that number root', async () => {
    await using e = await openEngine();
    await image(e, {
      config: { User: '1000' },
      files: { 'etc/passwd': '1000:x:0:0::/:/bin/sh\n', 'etc/group': '1000:x:0:\n' },
    });
    assert.equal((await e.output({ ...run, command: ['id', '-u'] })).stdout, '1000\n');
  });

  test('2024-9676: a FIFO, or a giant, in the place of passwd holds nothing up', async () => {
    await using e = await openEngine();
    const big = 'x'.repeat(1 << 20);
    await image(e, {
      config: { User: '5' },
      files: { 'etc/group': `g:x:7:${big}\n`.repeat(8), 'etc/passwd': { link: '/dev/zero' } },
    });
    assert.match((await e.output({ ...run, command: ['cat', '/proc/self/status'] })).stdout, /^Uid:\t5\t/m);
  });
});

describe('ENV', () => {
  test('2026-57231: wildcards and bare names take nothing from the host', async () => {
    await using e = await openEngine();
    process.env['KEELSON_SECRET_OF_HOST'] = 'secret';
    await image(e, { config: { Env: ['PATH=/bin', '*', 'KEELSON_*', 'KEELSON_SECRET_OF_HOST', 'HOME'] } });
    const { stdout } = await e.output({ ...run, command: ['env'] });
    assert.doesNotMatch(stdout, /secret/);
    delete process.env['KEELSON_SECRET_OF_HOST'];
  });

  test('a NUL or an empty name is refused', async () => {
    for (const entry of ['A=\0B=1', '=x', '']) {
      await using e = await openEngine();
      await image(e, { config: { Env: ['PATH=/bin', entry] } });
      await assert.rejects(e.output({ ...run, command: ['env'] }), /NUL byte|invalid environment variable/);
    }
  });

  test('2022-4318: a newline in HOME stays in HOME', async () => {
    await using e = await openEngine();
    await image(e, {
      config: { Env: ['PATH=/bin', 'HOME=/\nevil:x:0:0::/:/bin/sh'] },
      files: { 'etc/passwd': 'root:x:0:0::/:/bin/sh\n' },
    });
    assert.equal((await e.output({ ...run, command: ['cat', '/etc/passwd'] })).stdout, 'root:x:0:0::/:/bin/sh\n');
  });
});

describe('LABEL and annotations', () => {
  const steering = {
    'containerd.io/restart.status': 'running',
    'containerd.io/restart.loguri': 'binary:///bin/touch?/tmp/x',
    'io.podman.annotations.privileged': 'TRUE',
    'io.podman.annotations.seccomp': 'unconfined',
    'io.podman.annotations.label': 'disable',
    'run.oci.keep_original_groups': '1',
    'io.containers.autoupdate': 'registry',
    'com.docker.volume.anonymous': '',
    'keelson.restart': 'always',
    'keelson.privileged': 'true',
    'keelson.exit-command': '/bin/touch /tmp/x',
  };

  test('2026-53488, 2026-94603, 2026-121885: steer nothing', async () => {
    await using e = await openEngine();
    await image(e, { config: { Labels: steering } });
    const id = await e.run({ ...run, command: ['sh', '-c', 'cat /proc/self/status; exit 1'] });
    await e.engine.wait(e.context, id);
    await sleep(300);
    const { state, config, restartCount } = await e.inspect(id);
    assert.deepEqual(
      [state.state, restartCount, config.privileged, config.securityOpt],
      ['exited', 0, undefined, undefined],
    );
    assert.deepEqual(config.restart, { name: 'no', maximumRetryCount: 0 });
    let status = '';
    for await (const { line } of e.engine.logs(e.context, id)) status += line;
    assert.match(status, /^Seccomp:\s+2$/m);
    assert.match(status, /^CapInh:\s+0+$/m);
    assert.match(status, /^CapBnd:\s+00000000a80425fb$/m);
  });
});

describe('ENTRYPOINT, CMD, WORKDIR, STOPSIGNAL, EXPOSE', () => {
  test('2024-21626: WORKDIR of a leaked descriptor', async () => {
    for (let fd = 3; fd < 12; fd++) {
      await using e = await openEngine();
      await image(e, { config: { WorkingDir: `/proc/self/fd/${fd}/../../..` } });
      const result = await e
        .output({ ...run, command: ['sh', '-c', 'ls bin/busybox && ls work boot'] })
        .catch(() => undefined);
      assert.doesNotMatch(result?.stdout ?? '', /vmlinuz|config-/);
    }
  });

  test('2019-5736: /proc/self/exe as the program is not keel', async () => {
    await using e = await openEngine();
    await image(e, { config: { Entrypoint: ['/proc/self/exe'], Cmd: ['zygote'] } });
    const keel = execFileSync('sha256sum', [join(import.meta.dirname, '../../native/build/keel')]).toString();
    await e.output({ ...run, command: [] }).catch(() => {});
    assert.equal(execFileSync('sha256sum', [join(import.meta.dirname, '../../native/build/keel')]).toString(), keel);
  });

  test('nonsense is refused in words', async () => {
    const cases: [ContainerDefaults, RegExp][] = [
      [{ StopSignal: 'SIGNONSENSE' }, /invalid signal/],
      [{ ExposedPorts: { '99999/tcp': {} } }, /invalid exposed port/],
      [{ WorkingDir: 'relative' }, /needs to be an absolute path/],
      [{ Cmd: ['a\0b'] }, /NUL byte/],
      [{ Cmd: [] }, /no command specified/],
    ];
    for (const [config, message] of cases) {
      await using e = await openEngine();
      await image(e, { config });
      await assert.rejects(e.output({ ...run, command: [] }), message);
      assert.deepEqual(await e.engine.list(e.context, { all: true }), []);
    }
  });
});
