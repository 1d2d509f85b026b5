/** keelson-oci for an ordinary user: what works, and what is refused in the words that callers know. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkout } from '../support/engine.ts';
import { findProgram } from '../../src/kernel/facts.ts';
import { defaultSpec } from '../../src/runtime/lifecycle/default-spec.ts';
import { formatConfig } from '../../src/spec/config.ts';
import type { Spec } from '../../src/spec/runtime.ts';
import { Oci, ociBinary } from '../support/oci.ts';
import { OrdinaryUser, type Outcome } from '../support/ordinary-user.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root to make a user';
const needsHelpers =
  skip || (findProgram('newuidmap') && findProgram('newgidmap') ? false : 'needs newuidmap and newgidmap');

/** A user with bundles of its own, whose planners end with it. */
class Rootless implements AsyncDisposable {
  readonly user: OrdinaryUser;
  readonly #oci = new Oci();
  #bundles = 0;

  constructor(options: { subordinateIds: boolean } = { subordinateIds: false }) {
    this.user = new OrdinaryUser(options);
  }

  bundle(args: readonly string[], change: (spec: Spec) => Spec = (spec) => spec): string {
    const { uid } = this.user;
    const bundle = this.user.own(this.#oci.bundle(args), `bundle${++this.#bundles}`);
    const base = defaultSpec('1.2.1', { uid, gid: uid }, false);
    const process = { user: { uid: 0, gid: 0 }, cwd: '/', ...base.process, terminal: false, args };
    writeFileSync(join(bundle, 'config.json'), formatConfig(change({ ...base, process })));
    return bundle;
  }

  command(...args: readonly string[]): Promise<Outcome> {
    return this.user.run([ociBinary, ...args]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { stdout } = await this.command('list', '-q');
    for (const id of stdout.split('\n').filter(Boolean)) await this.command('delete', '-f', id);
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        if (statSync(`/proc/${pid}`).uid === this.user.uid && words.includes(`${checkout}/dist/planner.mjs`))
          process.kill(Number(pid), 'SIGKILL');
      } catch {
        // it has ended
      }
    }
    await this.#oci[Symbol.asyncDispose]();
    this.user[Symbol.dispose]();
  }
}

test('spec --rootless makes a bundle that runs, as root inside and the user outside', { skip }, async () => {
  await using rootless = new Rootless();
  const { uid, home } = rootless.user;
  const bundle = rootless.bundle(['true']);
  await rootless.user.run(['rm', join(bundle, 'config.json')]);
  assert.equal((await rootless.command('spec', '--rootless', '-b', bundle)).code, 0);
  const spec = JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8')) as Spec;
  assert.deepEqual(spec.linux?.uidMappings, [{ containerID: 0, hostID: uid, size: 1 }]);
  const command =
    'id -u; cat /proc/self/uid_map /proc/self/setgroups; echo x > /made && stat -c %u /made; ls /dev/null';
  const changed = {
    ...spec,
    root: { ...spec.root, readonly: false },
    process: { ...spec.process, terminal: false, args: ['sh', '-c', command] },
  };
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(changed));
  const { code, stdout, stderr } = await rootless.command('run', '-b', bundle, 'a');
  assert.equal(stderr, '');
  assert.equal(code, 0);
  assert.match(stdout, new RegExp(`^0\\n\\s+0\\s+${uid}\\s+1\\ndeny\\n0\\n/dev/null\\n$`));
  assert.equal(statSync(join(bundle, 'rootfs/made')).uid, uid);
  const state = join(home, 'runtime/keelson-oci');
  assert.equal(statSync(state).mode & 0o7777, 0o1700, 'state lies in XDG_RUNTIME_DIR and is not cleared away');
});

test('subordinate IDs are mapped by newuidmap and newgidmap', { skip: needsHelpers }, async () => {
  await using rootless = new Rootless({ subordinateIds: true });
  const { maps } = rootless.user;
  const bundle = rootless.bundle(['sh', '-c', 'id; cat /proc/self/setgroups'], (spec) => ({
    ...spec,
    process: { ...(spec.process ?? { cwd: '/' }), user: { uid: 5, gid: 6, additionalGids: [7] } },
    linux: { ...spec.linux, uidMappings: maps, gidMappings: maps },
  }));
  const { stdout, stderr } = await rootless.command('run', '-b', bundle, 'a');
  assert.equal(stderr, '');
  assert.match(stdout, /^uid=5 gid=6 groups=6?,?7\nallow\n$/);
});

test('IDs that were not given to the user are refused by the helpers, and nothing stays', {
  skip: needsHelpers,
}, async () => {
  await using rootless = new Rootless({ subordinateIds: true });
  const others = [{ containerID: 0, hostID: 0, size: 1 }];
  const bundle = rootless.bundle(['true'], (spec) => ({ ...spec, linux: { ...spec.linux, uidMappings: others } }));
  const { code, stderr } = await rootless.command('run', '-b', bundle, 'a');
  assert.equal(code, 1);
  assert.match(stderr, /newuidmap refused the mapping 0 0 1/);
  assert.equal((await rootless.command('list', '-q')).stdout, '');
});

test('create, exec, start, kill, delete; exec works before the start, too', { skip }, async () => {
  await using rootless = new Rootless();
  assert.equal((await rootless.command('create', '-b', rootless.bundle(['sleep', '100']), 'c')).code, 0);
  assert.equal((await rootless.command('exec', 'c', 'id', '-u')).stdout, '0\n');
  assert.equal((await rootless.command('start', 'c')).code, 0);
  assert.match((await rootless.command('exec', 'c', 'ps')).stdout, /sleep 100/);
  assert.equal((await rootless.command('kill', 'c', 'KILL')).code, 0);
  assert.equal((await rootless.command('delete', '-f', 'c')).code, 0);
});

test('what needs more than one ID is refused by name', { skip }, async () => {
  await using rootless = new Rootless();
  assert.equal((await rootless.command('run', '-d', '-b', rootless.bundle(['sleep', '100']), 'c')).code, 0);
  const user = await rootless.command('exec', '-u', '1000:1000', 'c', 'id');
  assert.equal(user.code, 255);
  assert.match(user.stderr, /cannot setgid to unmapped gid 1000 in user namespace/);
  const groups = await rootless.command('exec', '-g', '5', 'c', 'id');
  assert.equal(groups.code, 255);
  assert.match(groups.stderr, /cannot set any additional groups in a rootless container/);
});

test('without control groups: no limits are needed, and limits are refused', { skip }, async () => {
  await using rootless = new Rootless();
  assert.equal((await rootless.command('run', '-d', '-b', rootless.bundle(['sleep', '100']), 'c')).code, 0);
  assert.match(
    (await rootless.command('pause', 'c')).stderr,
    /cannot toggle freezer: cgroups not configured for container/,
  );
  assert.match((await rootless.command('ps', 'c')).stderr, /unable to get all container pids/);
  const limited = rootless.bundle(['true'], (spec) => ({
    ...spec,
    linux: { ...spec.linux, resources: { pids: { limit: 20 } } },
  }));
  const refused = await rootless.command('run', '-b', limited, 'd');
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /cannot set pids limit: container could not join|rootless needs no limits/);
  const elsewhere = rootless.bundle(['true'], (spec) => ({
    ...spec,
    linux: { ...spec.linux, cgroupsPath: '/keelson-test-not-ours' },
  }));
  const foreign = await rootless.command('run', '-b', elsewhere, 'e');
  assert.equal(foreign.code, 1);
  assert.match(foreign.stderr, /unable to apply cgroup configuration: .*permission denied/);
});

test('a container without a user namespace is refused before anything is made', { skip }, async () => {
  await using rootless = new Rootless();
  const bundle = rootless.bundle(['true'], (spec) => ({
    ...spec,
    linux: {
      ...spec.linux,
      uidMappings: [],
      gidMappings: [],
      namespaces: (spec.linux?.namespaces ?? []).filter((n) => n.type !== 'user'),
    },
  }));
  const { code, stderr } = await rootless.command('run', '-b', bundle, 'a');
  assert.equal(code, 1);
  assert.match(stderr, /rootless container requires user namespaces/);
});

test('control groups can be seen and not written to, with /sys bound and no namespace of theirs (CVE-2023-25809)', {
  skip,
}, async () => {
  await using rootless = new Rootless();
  const tries = 'for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do mkdir $d/escape; done 2>&1';
  const { stdout } = await rootless.command('run', '-b', rootless.bundle(['sh', '-c', tries]), 'a');
  const answers = stdout.split('\n').filter(Boolean);
  assert.ok(answers.length > 0);
  for (const answer of answers) assert.match(answer, /Read-only file system/);
});

test('namespaces of one container are joined by another, clocks included', { skip }, async () => {
  await using rootless = new Rootless();
  const first = rootless.bundle(['sleep', '100'], (spec) => ({
    ...spec,
    linux: {
      ...spec.linux,
      namespaces: [...(spec.linux?.namespaces ?? []), { type: 'time' }],
      timeOffsets: { boottime: { secs: 7200, nanosecs: 0 } },
    },
  }));
  assert.equal((await rootless.command('run', '-d', '-b', first, 'a')).code, 0);
  const { pid } = JSON.parse((await rootless.command('state', 'a')).stdout) as { pid: number };
  const second = rootless.bundle(['ps'], (spec) => {
    const { uidMappings: _, gidMappings: __, ...linux } = spec.linux ?? {};
    const joined = (linux.namespaces ?? []).map((n) =>
      n.type === 'user' || n.type === 'pid' ? { ...n, path: `/proc/${pid}/ns/${n.type}` } : n,
    );
    return { ...spec, linux: { ...linux, namespaces: joined } };
  });
  const { stdout, stderr } = await rootless.command('run', '-b', second, 'b');
  assert.equal(stderr.replace(/.*level=warning.*\n/g, ''), '');
  assert.match(stdout, /1 .*sleep 100/);
});

test('--rootless takes true, false and auto', { skip }, async () => {
  await using rootless = new Rootless();
  const bundle = rootless.bundle(['true']);
  for (const value of ['true', 'auto'])
    assert.equal((await rootless.command('--rootless', value, 'run', '-b', bundle, 'a')).code, 0, value);
  const refused = await rootless.command('--rootless=false', 'run', '-b', bundle, 'a');
  assert.equal(refused.code, 1, 'the machine’s groups are not the user’s');
  assert.match(refused.stderr, /unable to apply cgroup configuration/);
  assert.match(
    (await rootless.command('--rootless', 'maybe', 'list')).stderr,
    /invalid value "maybe" for flag --rootless/,
  );
});

test('sysctls are set without a pid namespace, too, where no procfs can be mounted', { skip }, async () => {
  await using rootless = new Rootless();
  const bundle = rootless.bundle(['cat', '/proc/sys/kernel/msgmax'], (spec) => ({
    ...spec,
    mounts: (spec.mounts ?? []).map((m) =>
      m.type === 'proc' ? { destination: '/proc', type: 'none', source: '/proc', options: ['rbind'] } : m,
    ),
    linux: {
      ...spec.linux,
      namespaces: (spec.linux?.namespaces ?? []).filter((n) => n.type !== 'pid'),
      sysctl: { 'kernel.msgmax': '4095' },
    },
  }));
  assert.equal((await rootless.command('run', '-b', bundle, 'a')).stdout, '4095\n');
});
