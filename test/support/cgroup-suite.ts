import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { cgroupDriver, cgroupPath, readText, writeLimits } from '../../src/kernel/cgroup.ts';
import type { Cgroup, CgroupPlan } from '../../src/kernel/cgroup-driver.ts';
import { compileDevicePolicy } from '../../src/kernel/bpf-devices.ts';
import { oomKills } from '../../src/kernel/cgroup-values.ts';
import { devicePolicy } from '../../src/kernel/device-rules.ts';
import { hostFacts } from '../../src/kernel/facts.ts';
import { Keel } from '../../src/kernel/keel.ts';
import { PlanBuilder } from '../../src/kernel/plan-builder.ts';
import { createCgroup, removeCgroup } from '../../src/runtime/cgroup-steps.ts';
import type { LinuxResources } from '../../src/spec/runtime.ts';

/** A group that was made, and processes in it. */
interface Made {
  readonly cgroup: Cgroup;
  readonly plan: CgroupPlan;
  /** Runs a shell command in the group: it is moved there before the command starts. */
  run(command: string): Promise<{ code: number | null; signal: string | null; output: string }>;
  /** The same, left running. */
  start(command: string): Promise<ChildProcess>;
  file(controller: string, name: string): string | undefined;
}

/** The tests that every cgroup driver has to pass on a real kernel: the driver for this machine, its plans run by keel. */
export function cgroupSuite(options: { keel?: string } = {}): void {
  const facts = hostFacts();
  const driver = cgroupDriver(facts.cgroup);
  const v2 = facts.cgroup.mode === 'unified';
  const keel = Keel.spawn(options.keel === undefined ? {} : { binary: options.keel });
  after(() => keel.close());
  let count = 0;

  const builder = (): PlanBuilder => new PlanBuilder(facts.arch);

  async function make(
    t: TestContext,
    resources: LinuxResources,
    change: { skipDevices?: boolean } = {},
  ): Promise<Made> {
    const path = cgroupPath({ facts: facts.cgroup, rootless: false, id: `suite-${process.pid}-${count++}` });
    assert.ok(path);
    const cgroup = driver.locate(facts.cgroup, path);
    const skipDevices = change.skipDevices ?? true;
    const plan = driver.create(facts.cgroup, { cgroup, resources, skipDevices }, readText);
    return enter(t, cgroup, plan);
  }

  async function enter(t: TestContext, cgroup: Cgroup, plan: CgroupPlan): Promise<Made> {
    const b = builder();
    createCgroup(b, plan);
    await keel.run(b.build());
    const leaves = plan.directories.filter((directory) => directory.leaf).map((directory) => directory.path);
    const started: ChildProcess[] = [];
    t.after(async () => {
      for (const child of started) {
        child.kill('SIGKILL');
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      }
      const remove = builder();
      removeCgroup(remove, plan);
      await keel.run(remove.build());
      for (const leaf of leaves) assert.equal(existsSync(leaf), false, `${leaf} is left`);
    });
    const start = async (command: string): Promise<ChildProcess> => {
      const child = spawn('sh', ['-c', `read _; ${command}`], { stdio: ['pipe', 'pipe', 'pipe'] });
      started.push(child);
      for (const leaf of leaves) writeFileSync(join(leaf, 'cgroup.procs'), String(child.pid));
      child.stdin.write('go\n');
      return child;
    };
    return {
      cgroup,
      plan,
      start,
      async run(command) {
        const child = await start(command);
        let output = '';
        for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data) => (output += String(data)));
        const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
        return { code, signal, output };
      },
      file: (controller, name) => readText(join(cgroup.directories[v2 ? '' : controller] ?? '/none', name))?.trim(),
    };
  }

  describe(`control groups of version ${v2 ? 2 : 1}`, () => {
    test('limits are in force as soon as the group is made', async (t) => {
      const made = await make(t, {
        memory: { limit: 64 << 20, reservation: 32 << 20 },
        cpu: { shares: 2048, quota: 50000, period: 100000, cpus: '0' },
        pids: { limit: 33 },
      });
      const is = (controller: string, v1File: string, v1Value: string, v2File: string, v2Value: string) =>
        assert.equal(made.file(controller, v2 ? v2File : v1File), v2 ? v2Value : v1Value);
      is('memory', 'memory.limit_in_bytes', '67108864', 'memory.max', '67108864');
      is('memory', 'memory.soft_limit_in_bytes', '33554432', 'memory.low', '33554432');
      is('cpu', 'cpu.shares', '2048', 'cpu.weight', '174');
      if (v2) assert.equal(made.file('cpu', 'cpu.max'), '50000 100000');
      else assert.equal(made.file('cpu', 'cpu.cfs_quota_us'), '50000');
      is('cpuset', 'cpuset.cpus', '0', 'cpuset.cpus', '0');
      is('pids', 'pids.max', '33', 'pids.max', '33');
      assert.deepEqual(made.plan.warnings, []);
    });

    test('a group without limits takes processes', async (t) => {
      const made = await make(t, {});
      assert.equal((await made.run('true')).code, 0);
    });

    test('an update changes limits up and down', async (t) => {
      const made = await make(t, {
        memory: { limit: 64 << 20, swap: 64 << 20 },
        cpu: { quota: 20000, period: 100000 },
      });
      for (const [limit, quota, period] of [
        [256 << 20, 30000, 50000],
        [32 << 20, 90000, 1000000],
      ] as const) {
        const resources = { memory: { limit, swap: limit }, cpu: { quota, period } };
        writeLimits(driver.update(made.cgroup, resources, readText));
        assert.equal(made.file('memory', v2 ? 'memory.max' : 'memory.limit_in_bytes'), String(limit));
        if (v2) assert.equal(made.file('cpu', 'cpu.max'), `${quota} ${period}`);
        else assert.equal(made.file('cpu', 'cpu.cfs_quota_us'), String(quota));
      }
    });

    test('a process beyond its memory is killed, and that is told', async (t) => {
      const made = await make(t, { memory: { limit: 24 << 20, swap: 24 << 20 } });
      const { signal, code } = await made.run('exec tail /dev/zero');
      assert.ok(signal === 'SIGKILL' || code === 137, `${signal} ${code}`);
      const told = driver.oomFiles(made.cgroup).map((file) => oomKills(readFileSync(file, 'utf8')));
      assert.deepEqual(told, [1]);
    });

    test('no more processes than allowed', async (t) => {
      const made = await make(t, { pids: { limit: 2 } });
      const { output } = await made.run('sleep 0.5 & sleep 0.5 & wait');
      assert.match(output, /fork/i);
    });

    test('a frozen group stands still until it is thawed', async (t) => {
      const made = await make(t, {});
      const freezer = driver.freezer(made.cgroup);
      assert.ok(freezer);
      const child = await made.start('while :; do echo x; sleep 0.02; done');
      let seen = 0;
      child.stdout?.on('data', (data) => (seen += String(data).length));
      await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
      writeFileSync(freezer.freeze.path, freezer.freeze.value);
      for (let i = 0; !freezer.state.frozen.test(readText(freezer.state.path) ?? ''); i++) {
        assert.ok(i < 100, 'not frozen after a second');
        await sleep(10);
      }
      await sleep(50);
      const before = seen;
      await sleep(150);
      assert.equal(seen, before);
      writeFileSync(freezer.thaw.path, freezer.thaw.value);
      await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
      assert.equal(freezer.state.frozen.test(readText(freezer.state.path) ?? ''), false);
    });

    test('statistics tell what was used', async (t) => {
      const made = await make(t, { memory: { limit: 128 << 20 }, pids: { limit: 50 } });
      const child = await made.start('i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; exec sleep 60');
      await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
      const stats = driver.stats(made.cgroup, readText);
      assert.ok(stats.cpu.total > 1_000_000, `cpu ${stats.cpu.total}`);
      assert.ok(stats.memory.usage > 0 && stats.memory.usage < 128 << 20, `memory ${stats.memory.usage}`);
      assert.equal(stats.memory.limit, 128 << 20);
      assert.equal(stats.pids.current, 1);
      assert.equal(stats.pids.limit, 50);
    });

    test('a group in use is refused to a second container', async (t) => {
      const made = await make(t, {});
      await made.start('exec sleep 60');
      assert.throws(
        () => driver.create(facts.cgroup, { cgroup: made.cgroup, resources: {}, skipDevices: true }, readText),
        /cgroup is not empty/,
      );
    });

    test('devices: the default ones and what is allowed besides, nothing else', async (t) => {
      const resources = {
        devices: [
          { allow: false, access: 'rwm' },
          { allow: true, type: 'c' as const, major: 1, minor: 11, access: 'r' },
        ],
      };
      await devicesAreGuarded(await make(t, resources, { skipDevices: false }));
      const closed = await make(t, {}, { skipDevices: false });
      assert.match((await closed.run(': < /dev/kmsg')).output, /not permitted/);
    });

    test('privileged: all devices', async (t) => {
      const made = await make(t, { devices: [{ allow: true, access: 'rwm' }] }, { skipDevices: false });
      assert.equal((await made.run(': < /dev/kmsg && : > /dev/kmsg')).code, 0);
    });

    // Version 2 is there in a hybrid set-up as well, with device programs though without controllers.
    const mount = v2 ? undefined : facts.cgroup.v2;
    if (mount)
      test('the kernel takes the device program of version 2', async (t) => {
        const path = join(mount.mountPoint, 'keelson', `suite-${process.pid}-bpf`);
        const parent = { path: join(mount.mountPoint, 'keelson'), writes: [], leaf: false };
        const policy = devicePolicy([{ allow: true, type: 'c', major: 1, minor: 11, access: 'r' }]);
        const made = await enter(
          t,
          { version: 2, path: '', directories: { '': path } },
          {
            directories: [parent, { path, writes: [], leaf: true }],
            cloneInto: path,
            deviceProgram: compileDevicePolicy(policy),
            warnings: [],
          },
        );
        await devicesAreGuarded(made);
      });
  });

  async function devicesAreGuarded(made: Made): Promise<void> {
    for (const allowed of ['head -c1 /dev/zero > /dev/null', ': < /dev/urandom', ': < /dev/kmsg', ': > /dev/full']) {
      const { code, output } = await made.run(allowed);
      assert.equal(code, 0, `${allowed}: ${output}`);
    }
    // A reader's rule is no writer's; a node that may be made can still not be opened.
    const node = `/tmp/suite-${process.pid}-node`;
    for (const refused of [
      ': > /dev/kmsg',
      `mknod ${node} b 7 99 && : < ${node}`,
      `mknod ${node} c 1 1 && : < ${node}`,
    ]) {
      const { code, output } = await made.run(`trap 'rm -f ${node}' EXIT; ${refused}`);
      assert.notEqual(code, 0, refused);
      assert.match(output, /not permitted/, refused);
    }
  }

  after(() => {
    // The parents stay, as they do after real containers: a test machine has no use for them.
    for (const mount of [...facts.cgroup.v1, ...(facts.cgroup.v2 ? [facts.cgroup.v2] : [])]) {
      const keelson = join(mount.mountPoint, 'keelson');
      try {
        if (readdirSync(keelson, { withFileTypes: true }).every((entry) => !entry.isDirectory())) rmdirSync(keelson);
      } catch {
        // In use by others, or never made.
      }
    }
  });
}
