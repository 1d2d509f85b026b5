/** Namespaces that are made, joined by path and inherited. */
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { execFileSync, spawn } from 'node:child_process';
import { test } from 'node:test';
import type { LinuxNamespace, LinuxNamespaceType, Spec } from '../../src/spec/runtime.ts';
import { Oci } from '../support/oci.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const mapped = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
const kinds = ['user', 'pid', 'net', 'ipc', 'uts', 'cgroup', 'time', 'mnt'];
const show = `for n in ${kinds.join(' ')}; do /bin/busybox readlink /proc/self/ns/$n; done; cat /proc/self/uid_map /proc/self/timens_offsets; hostname`;

function withNamespaces(namespaces: readonly LinuxNamespace[], more: Partial<Spec> = {}): (spec: Spec) => Spec {
  return (spec) => ({ ...spec, ...more, linux: { ...spec.linux, ...more.linux, namespaces } });
}

const all: LinuxNamespaceType[] = ['pid', 'network', 'ipc', 'uts', 'mount', 'cgroup', 'user', 'time'];

test('new ones of every kind, and others that join them by path', { skip }, async () => {
  await using oci = new Oci();
  chmodSync(oci.directory, 0o755);
  const hook = join(oci.directory, 'hook');
  const first = oci.bundle(
    ['sleep', '100'],
    withNamespaces(
      all.map((type) => ({ type })),
      {
        hostname: 'first',
        hooks: {
          createRuntime: [
            { path: '/bin/sh', args: ['sh', '-c', `readlink /proc/self/ns/pid /proc/self/ns/time > ${hook}`] },
          ],
        },
        linux: {
          uidMappings: mapped,
          gidMappings: mapped,
          timeOffsets: { monotonic: { secs: 7881, nanosecs: 271 }, boottime: { secs: 1337 } },
        },
      },
    ),
  );
  execFileSync('chown', ['-R', '100000:100000', join(first, 'rootfs')]);
  const started = await oci.command('run', '-d', '-b', first, 'first');
  assert.equal(started.code, 0, started.stderr);
  assert.equal(
    readFileSync(hook, 'utf8'),
    `${readlinkSync('/proc/self/ns/pid')}\n${readlinkSync('/proc/self/ns/time')}\n`,
    'hooks run in the namespaces of the runtime',
  );
  const pid = Number((await oci.state('first'))['pid']);
  const inside = (await oci.command('exec', 'first', 'sh', '-c', show)).stdout.trim().split('\n');
  const files: Record<string, string> = { network: 'net', mount: 'mnt' };
  for (const [i, kind] of kinds.entries()) {
    assert.equal(inside[i], readlinkSync(`/proc/${pid}/ns/${kind}`));
    assert.notEqual(inside[i], readlinkSync(`/proc/self/ns/${kind}`), kind);
  }
  assert.match(inside.join('\n'), /^ +0 +100000 +65536$/m);
  assert.match(inside.join('\n'), /^monotonic +7881 +271\nboottime +1337 +0\nfirst$/m);

  // All but the mount namespace, which keeps the second's root its own.
  const path = (type: string) => `/proc/${pid}/ns/${files[type] ?? type}`;
  const second = oci.bundle(
    ['sh', '-c', show],
    withNamespaces(
      all.map((type) => (type === 'mount' ? { type } : { type, path: path(type) })),
      { hostname: 'first' },
    ),
  );
  execFileSync('chown', ['-R', '100000:100000', join(second, 'rootfs')]);
  const joined = await oci.command('run', '-b', second, 'second');
  assert.equal(joined.code, 0, joined.stderr);
  const seen = joined.stdout.trim().split('\n');
  assert.deepEqual(seen.slice(0, 7), inside.slice(0, 7));
  assert.deepEqual(seen.slice(8), inside.slice(8));

  // A network namespace that the host owns, with a user namespace that is new: joined before there is one.
  using sleeper = new HostNetwork();
  const third = oci.bundle(
    ['sh', '-c', show],
    withNamespaces(
      [
        ...all.filter((type) => type !== 'network' && type !== 'time').map((type) => ({ type })),
        { type: 'network', path: `/proc/${sleeper.pid}/ns/net` },
      ],
      { linux: { uidMappings: mapped, gidMappings: mapped } },
    ),
  );
  execFileSync('chown', ['-R', '100000:100000', join(third, 'rootfs')]);
  const mixed = await oci.command('run', '-b', third, 'third');
  assert.equal(mixed.code, 0, mixed.stderr);
  assert.equal(mixed.stdout.split('\n')[2], readlinkSync(`/proc/${sleeper.pid}/ns/net`));
});

class HostNetwork implements Disposable {
  readonly #child = spawn('unshare', ['-n', 'sleep', '100'], { stdio: 'ignore' });
  readonly pid: number = this.#child.pid ?? 0;

  constructor() {
    const own = readlinkSync('/proc/self/ns/net');
    const end = Date.now() + 5000;
    while (Date.now() < end && readlinkSync(`/proc/${this.pid}/ns/net`) === own);
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}
