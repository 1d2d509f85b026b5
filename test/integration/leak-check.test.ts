import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LeakError, leakCheck } from '../support/leaks.ts';

/** Verifies that what `make` does is found, named by `pattern`, and that nothing is found once it is undone. */
async function finds(t: TestContext, pattern: RegExp, make: (scope: Scope) => Promise<() => unknown>): Promise<void> {
  const top = mkdtempSync(join(tmpdir(), 'keelson-leaks-'));
  t.after(() => rmSync(top, { recursive: true, force: true }));
  const scope = { root: join(top, 'root'), run: join(top, 'run') };
  for (const path of [scope.root, scope.run]) mkdirSync(path);
  const leaks = await leakCheck({ ...scope, patienceMs: 0 });
  const undo = await make(scope);
  try {
    await assert.rejects(leaks.verify(), (error) => error instanceof LeakError && pattern.test(error.leaks.join('\n')));
  } finally {
    await undo();
  }
  await (await leakCheck({ ...scope })).verify();
}

interface Scope {
  readonly root: string;
  readonly run: string;
}

test('nothing done is no leak', async (t) => {
  const top = mkdtempSync(join(tmpdir(), 'keelson-leaks-'));
  t.after(() => rmSync(top, { recursive: true, force: true }));
  await using _leaks = await leakCheck({ root: top, run: top });
});

test('finds a mount', (t) =>
  finds(t, /^mount: .*\/run \(tmpfs/m, async ({ run }) => {
    execFileSync('mount', ['-t', 'tmpfs', 'none', run]);
    return () => execFileSync('umount', [run]);
  }));

test('finds a process and its network namespace', (t) =>
  finds(t, /process: \d+ sleep 60.*\nnetwork namespace: net:/, async ({ run }) => {
    const child = spawn('unshare', ['--net', 'sleep', '60'], { env: { ...process.env, KEELSON_RUN: run } });
    // unshare(1) becomes sleep(1) when it has done its work.
    while (!readFileSync(`/proc/${child.pid}/cmdline`, 'utf8').startsWith('sleep')) await sleep(10);
    return () => {
      child.kill('SIGKILL');
      return once(child, 'exit');
    };
  }));

test('finds a link, and an address', (t) =>
  finds(t, /link: leak0\n[^]*address: 192\.0\.2\.7\/32 on leak0/, async () => {
    execFileSync('ip', ['link', 'add', 'leak0', 'type', 'veth', 'peer', 'leak1']);
    execFileSync('ip', ['address', 'add', '192.0.2.7/32', 'dev', 'leak0']);
    return () => execFileSync('ip', ['link', 'delete', 'leak0']);
  }));

test('finds an element of an nftables map', (t) =>
  finds(t, /nftables rule: ip leak map ports: /, async () => {
    execFileSync('nft', ['-f', '-'], {
      input: 'table ip leak {\nmap ports {\ntype inet_service : ipv4_addr\nelements = { 80 : 192.0.2.1 }\n}\n}\n',
    });
    return () => execFileSync('nft', ['delete', 'table', 'ip', 'leak']);
  }));

test('finds a cgroup', { skip: existsSync('/sys/fs/cgroup') ? false : 'no cgroups' }, (t) =>
  finds(t, /cgroup: .*\/keelson\/leak/, async () => {
    const top = ['/sys/fs/cgroup/memory', '/sys/fs/cgroup'].find((path) => existsSync(join(path, 'cgroup.procs')));
    const group = join(top ?? '', 'keelson', 'leak');
    mkdirSync(group, { recursive: true });
    return () => rmdirSync(group);
  }),
);

test('finds a temporary file and a file of the run directory', (t) =>
  finds(t, /file: .*\/run\/x\.sock\nfile: .*\/root\/blobs\/\.fresh/, async ({ root, run }) => {
    mkdirSync(join(root, 'blobs'));
    for (const path of [join(run, 'x.sock'), join(root, 'blobs/.fresh'), join(root, 'blobs/content')])
      writeFileSync(path, '');
    return () => {
      rmSync(join(run, 'x.sock'));
      rmSync(join(root, 'blobs/.fresh'));
    };
  }));

test('finds a listening socket', (t) =>
  finds(t, /listening socket: tcp port \d+ on 0100007F/, async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return () => new Promise((resolve) => server.close(resolve));
  }));
