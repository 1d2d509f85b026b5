/** What podman has and docker hasn't: user namespaces by mode, pods, descriptors. */
import { line, run } from './process.ts';
import type { Engine, Scenario } from './scenario.ts';
import { image } from './world.ts';

const map = 'cat /proc/self/uid_map';

export const podmanOnly: Scenario<Engine> = {
  name: 'podman only',
  async play(engine, check) {
    check('user namespace: auto', /^0: 0 \d{7,} \d+$/, await engine.sh(['--userns=auto'], map));
    check('user namespace: auto of a size', /^0: 0 \d{7,} \d+( |$)/, await engine.sh(['--userns=auto:size=500'], map));
    check(
      'user namespace: keep-id',
      /^0: |^125: .*keep-id is only supported in rootless mode/,
      await engine.sh(['--userns=keep-id'], 'id -u'),
    );
    check(
      'user namespace: nomap',
      /^0: |^125: .*nomap is only supported in rootless mode/,
      await engine.sh(['--userns=nomap'], 'id -u'),
    );
    check(
      'user namespace: --uidmap',
      /^0: 0 100000 1000 1000 200000 64536$/,
      await engine.sh(['--uidmap=0:100000:1000', '--uidmap=1000:200000:64536', '--gidmap=0:100000:65536'], map),
    );
    check(
      'user namespace: files belong to its root',
      /^0: 0 0$/,
      await engine.sh(['--uidmap=0:100000:65536'], 'stat -c "%u %g" /etc/plain'),
    );
    check(
      'user namespace: volume with mapped IDs',
      /^0: 0$/,
      await engine.sh(['--uidmap=0:100000:65536', '-v', '/tmp/shared:/mnt:idmap'], 'stat -c %u /mnt/file'),
    );
    check('run: no cgroup of its own', /^0: out$/, await engine.sh(['--cgroups=disabled'], 'echo out'));
    check('run: time zone', /^0: out$/, await engine.sh(['--tz=UTC'], 'echo out'));
    check(
      'mounts: of an image',
      /^0: text$/,
      await engine.sh([`--mount=type=image,src=${image},dst=/mnt`], 'cat /mnt/etc/plain'),
    );
    check(
      'mounts: overlay on a directory',
      /^0: text$/,
      await engine.sh(['-v', '/tmp/shared:/mnt:O'], 'touch /mnt/new && cat /mnt/file'),
    );
    check('mounts: --rootfs', /^0: text$/, await rootfs(engine));
    check(
      'security: --security-opt=mask',
      /^1: .*(denied|cat)|^0:$/,
      await engine.sh(['--security-opt=mask=/etc/plain'], 'cat /etc/plain'),
    );
    check(
      'security: unmasked',
      /^0: none$/,
      await engine.sh(['--security-opt=unmask=ALL'], 'grep -q " /proc/keys " /proc/mounts || echo none'),
    );
    check('run: preserved descriptors', /^0: given$/, await descriptors(engine));
    check('run: umask', /^0: 0077$/, await engine.sh(['--umask=0077'], 'umask'));
    check('run: personality', /^0: i?\d86|^125: .*personality/, await engine.sh(['--personality=LINUX32'], 'uname -m'));
    check('init: waits between create and start', /^0 initialized 0: out$/, await initialized(engine));
  },
};

async function initialized(engine: Engine): Promise<string> {
  const name = engine.name('init');
  await engine.cli(['create', '--name', name, '--network=none', image, 'echo', 'out']);
  const { code, stderr } = await engine.cli(['init', name]);
  const status = await engine.inspect(name, '{{.State.Status}}');
  const started = await engine.line('start', '-a', name);
  await engine.remove(name);
  return `${code} ${stderr}${status} ${started}`;
}

async function rootfs(engine: Engine): Promise<string> {
  return engine.line('run', '--rm', '--network=none', '--rootfs', '/data/image/root:O', 'cat', '/etc/plain');
}

async function descriptors(engine: Engine): Promise<string> {
  const script = `podman --runtime ${engine.runtime} run --rm --network=none --preserve-fds=1 ${image} sh -c 'cat <&3' 3</tmp/given`;
  return line(await run(['sh', '-c', `echo given > /tmp/given; ${script}`]));
}

export const pods: Scenario<Engine> = {
  name: 'pods',
  async play(engine, check) {
    const pod = engine.name('pod');
    const infra = ['--infra-image', image, '--infra-command', '/bin/sleep 1000'];
    const made = await engine.line(
      'pod',
      'create',
      '--name',
      pod,
      '--share',
      'net,ipc,uts,pid',
      '--network=none',
      ...infra,
    );
    check('pod: create', /^0: [0-9a-f]{64}$/, made);
    const first = await engine.start(
      ['--pod', pod],
      ['sh', '-c', 'echo first > /dev/shm/from; while :; do sleep 0.2; done'],
    );
    const second = await engine.start(['--pod', pod], ['sleep', '1000']);
    check('pod: shared memory', /^0: first$/, await engine.line('exec', second, 'cat', '/dev/shm/from'));
    const shared = 'ls -l /proc/1/ns /proc/self/ns | grep -E " (net|ipc|pid|uts) " | sed "s/.*-> //" | sort -u | wc -l';
    check('pod: namespaces', /^0: 4$/, await engine.line('exec', second, 'sh', '-c', shared));
    check('pod: names', new RegExp(`^0: ${pod}$`), await engine.line('exec', second, 'hostname'));
    check(
      'pod: ps',
      /^0: Running 3$/,
      await engine.line('pod', 'ps', '--filter', `name=${pod}`, '--format', '{{.Status}} {{.NumberOfContainers}}'),
    );
    check('pod: pause', /^0$/, `${(await engine.cli(['pod', 'pause', pod])).code}`);
    check('pod: unpause', /^0$/, `${(await engine.cli(['pod', 'unpause', pod])).code}`);
    check(
      'pod: stop',
      /^0 exited$/,
      `${(await engine.cli(['pod', 'stop', '-t', '0', pod])).code} ${await engine.inspect(first, '{{.State.Status}}')}`,
    );
    check(
      'pod: start again',
      /^0 running$/,
      `${(await engine.cli(['pod', 'start', pod])).code} ${await engine.inspect(first, '{{.State.Status}}')}`,
    );
    check('pod: rm', /^0$/, `${(await engine.cli(['pod', 'rm', '-f', '-t', '0', pod])).code}`);
  },
};
