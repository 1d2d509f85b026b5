/** ATTACKS, section A: root file systems, links and descriptors that are to lead out of the container while it is set up. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { MountSpec } from '../../src/engine/types.ts';
import { keelBinary } from '../../src/kernel/keel.ts';
import { outsideOf } from '../support/hostile-files.ts';
import { image } from '../support/hostile-image.ts';
import { openEngine, outputOf } from '../support/open-engine.ts';
import { swapping } from '../support/swapping.ts';

const run = { image: 'hostile' } as const;

const bind = (source: string, target: string): MountSpec => ({ type: 'bind', source, target, readOnly: false });

describe('a link in the place of', () => {
  for (const name of ['proc', 'sys', 'dev']) {
    test(`2019-16884, 2019-19921, 2023-27561, 2023-28642, 2026-41579, 2026-47766: /${name} leads nowhere on the host`, async () => {
      await using e = await openEngine();
      const host = outsideOf(e.scratch);
      await image(e, { files: { [name]: { link: host.path } } });
      const result = await e
        .output({ ...run, command: ['sh', '-c', 'cat /proc/self/attr/current /proc/1/status'] })
        .catch((error: unknown) => error as Error);
      host.untouched();
      if (result instanceof Error) assert.match(result.message, new RegExp(`/${name}|ELOOP|ENOENT`));
    });

    test(`the same with a directory of the image, so that /${name} has what the image says`, async () => {
      await using e = await openEngine();
      await image(e, { files: { [name]: { link: '/fake' }, 'fake/self/status': 'made up', 'fake/kcore': 'made up' } });
      const { stdout } = await e
        .output({ ...run, command: ['sh', '-c', 'cat /proc/self/status /fake/self/status /proc/kcore'] })
        .catch(() => ({ stdout: '' }));
      if (name === 'proc') assert.doesNotMatch(stdout, /made up/);
    });
  }

  test('crun 2025-24965: the files that are mounted over those of the image', async () => {
    await using e = await openEngine();
    const host = outsideOf(e.scratch);
    const link = { link: join(host.path, 'file') };
    await image(e, {
      files: { 'etc/hosts': link, 'etc/hostname': link, 'etc/resolv.conf': { link: join(host.path, 'new') } },
    });
    await e.output({ ...run, command: ['sh', '-c', 'echo x > /etc/hosts; echo x > /etc/resolv.conf'] }).catch(() => {});
    host.untouched();
  });

  test('the target of a bind, of a volume and of a tmpfs', async () => {
    await using e = await openEngine();
    const host = outsideOf(e.scratch);
    const data = join(e.scratch, 'data');
    mkdirSync(data);
    await image(e, { files: { link: { link: host.path }, up: { link: '../../../../../../../../../' + host.path } } });
    for (const top of ['/link', '/up']) {
      for (const mount of [
        bind(data, `${top}/new/deeper`),
        bind(join(data), `${top}/file`),
        { type: 'volume', source: 'v', target: `${top}/volume`, readOnly: false },
        { type: 'tmpfs', source: '', target: `${top}/tmpfs`, readOnly: false },
      ] as const) {
        await e
          .output({ ...run, command: ['sh', '-c', `echo x > ${mount.target}/x`], mounts: [mount] })
          .catch(() => {});
        host.untouched();
      }
    }
  });

  test('2024-45310, 2021-30465: a directory that is swapped for a link while mount points are made in it', async () => {
    await using e = await openEngine();
    const host = outsideOf(e.scratch);
    const shared = join(e.scratch, 'shared');
    mkdirSync(join(shared, 'dir'), { recursive: true });
    symlinkSync(host.path, join(shared, 'link'));
    await image(e, {});
    await using _ = swapping([join(shared, 'dir'), join(shared, 'link')]);
    const until = Date.now() + 8000;
    for (let turn = 0; Date.now() < until; turn++) {
      const mounts = [
        bind(shared, '/shared'),
        { type: 'tmpfs', source: '', target: `/shared/dir/new${turn}/deep`, readOnly: false },
      ] as const;
      await e.output({ ...run, command: ['true'], mounts }).catch(() => {});
      host.untouched();
    }
  });

  test('2025-31133, 2025-52565: the null device that covers masked paths', async () => {
    await using e = await openEngine();
    const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8');
    const dev = join(e.scratch, 'dev');
    mkdirSync(dev);
    for (const name of ['null', 'console', 'ptmx']) symlinkSync('/proc/sys/kernel/core_pattern', join(dev, name));
    await image(e, { files: { 'dev/null': { link: '/proc/sys/kernel/core_pattern' } } });
    for (const mounts of [[], [bind(dev, '/dev')]]) {
      const { stdout } = await e
        .output({
          ...run,
          mounts,
          command: ['sh', '-c', 'cat /proc/kcore | head -c 5; echo "|x" > /proc/kcore; echo done'],
        })
        .catch(() => ({ stdout: 'done\n' }));
      assert.equal(stdout, 'done\n');
      assert.equal(readFileSync('/proc/sys/kernel/core_pattern', 'utf8'), pattern);
    }
  });
});

describe('descriptors and memory of the runtime', () => {
  test('2016-9962: what enters a container shows it no descriptor of the host', async () => {
    await using e = await openEngine();
    await image(e, {});
    const host = outsideOf(e.scratch);
    const watch = `while :; do
      for fd in /proc/[0-9]*/fd/*; do echo "$(readlink "$fd")"; done
      cat /proc/[0-9]*/root${host.path}/file
    done 2>/dev/null`;
    const id = await e.run({ ...run, command: ['sh', '-c', watch], capAdd: ['SYS_PTRACE'] });
    for (let turn = 0; turn < 25; turn++) {
      const entered = await e.engine.exec(e.context, id, { command: ['echo', 'hello'] });
      assert.equal((await outputOf(entered)).stdout, 'hello\n');
    }
    await e.engine.kill(e.context, id);
    const seen = new Set<string>();
    for await (const { line } of e.engine.logs(e.context, id)) seen.add(line.trim());
    const harmless = /^(|\/dev\/null|\/proc\/\d+\/fd|\/proc|pipe:\[\d+\]|socket:\[\d+\]|anon_inode:.*|\/bin\/busybox)$/;
    assert.deepEqual(
      [...seen].filter((target) => !harmless.test(target)),
      [],
    );
  });

  test('2024-21626: no working directory of exec leads out', async () => {
    await using e = await openEngine();
    await image(e, {});
    const id = await e.run({ ...run, command: ['sleep', '1000'] });
    for (let fd = 0; fd < 24; fd++) {
      for (const workingDir of [`/proc/self/fd/${fd}`, `/proc/self/fd/${fd}/../..`, `/proc/1/fd/${fd}`]) {
        const result = await e.engine
          .exec(e.context, id, { command: ['sh', '-c', 'ls ../../../.. ../../../../etc'], workingDir })
          .then(outputOf, () => undefined);
        assert.doesNotMatch(result?.stdout ?? '', /debian_version|lost\+found/, workingDir);
      }
    }
  });

  test('2019-5736: keel is not written through /proc/<pid>/exe, in run or exec', async () => {
    await using e = await openEngine();
    const hash = (): string => execFileSync('sha256sum', [keelBinary()]).toString();
    const before = hash();
    const overwrite = 'while :; do for p in /proc/[0-9]*; do echo x >> $p/exe; done; done 2>/dev/null';
    await image(e, { files: { 'bin/again': '#!/proc/self/exe\n' } });
    execFileSync('chmod', ['755', join(e.scratch, 'image/bin/again')]);
    const id = await e.run({ ...run, command: ['sh', '-c', overwrite], capAdd: ['SYS_PTRACE'] });
    for (let turn = 0; turn < 20; turn++) {
      for (const command of [['/proc/self/exe'], ['/bin/again'], ['echo']]) {
        await e.engine.exec(e.context, id, { command }).then(outputOf, () => undefined);
      }
    }
    await e.output({ ...run, command: ['/bin/again'] }).catch(() => {});
    assert.equal(hash(), before);
  });
});

describe('who one is inside', () => {
  test('2022-29162: no capability is inheritable, in run and exec', async () => {
    await using e = await openEngine();
    await image(e, {});
    const status = ['cat', '/proc/self/status'];
    for (const more of [{}, { capAdd: ['ALL'] }, { privileged: true }, { user: '1000' }]) {
      assert.match((await e.output({ ...run, ...more, command: status })).stdout, /^CapInh:\s+0+$/m);
      const id = await e.run({ ...run, ...more, command: ['sleep', '1000'] });
      for (const privileged of [false, true]) {
        const { stdout } = await outputOf(await e.engine.exec(e.context, id, { command: status, privileged }));
        assert.match(stdout, /^CapInh:\s+0+$/m);
      }
    }
  });

  test('crun 2026-30892: exec has the user that was asked for, in every form', async () => {
    await using e = await openEngine();
    await image(e, {
      files: {
        'etc/passwd': 'root:x:0:0::/:/bin/sh\nsailor:x:7:8::/:/bin/sh\n',
        'etc/group': 'root:x:0:\ncrew:x:8:\nmates:x:9:sailor\n',
      },
    });
    const id = await e.run({ ...run, command: ['sleep', '1000'] });
    const ids = 'echo $(id -u) $(id -g) $(id -G)';
    for (const [user, expected] of [
      ['1', '1 0 0'],
      ['1:2', '1 2 2'],
      ['sailor', '7 8 8 9'],
      ['sailor:mates', '7 9 9'],
      ['7', '7 8 8 9'],
      ['0:8', '0 8 8'],
      ['', '0 0 0'],
    ] as const) {
      const { stdout } = await outputOf(await e.engine.exec(e.context, id, { command: ['sh', '-c', ids], user }));
      assert.equal(stdout.trim(), expected, `user ${JSON.stringify(user)}`);
    }
  });
});

test('2015-3629: a container that is started again meets the links that it has made', async () => {
  await using e = await openEngine();
  const host = outsideOf(e.scratch);
  await image(e, {});
  const script = `rm -rf /etc/hosts /tmp /x; ln -s ${host.path} /tmp; ln -s ${host.path}/file /x; rm -rf /sys 2>/dev/null; true`;
  const id = await e.run({
    ...run,
    command: ['sh', '-c', script],
    mounts: [{ type: 'tmpfs', source: '', target: '/tmp/in', readOnly: false }],
  });
  for (let turn = 0; turn < 3; turn++) {
    await e.engine.wait(e.context, id);
    host.untouched();
    await e.engine.start(e.context, id).catch(() => {});
  }
  await e.engine.wait(e.context, id);
  host.untouched();
});
