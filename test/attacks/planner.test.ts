/** One user's planner is nobody else's: neither to be reached nor to be passed off. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkout } from '../support/engine.ts';
import { ociBinary } from '../support/oci.ts';
import { swapping } from '../support/swapping.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root to become other users';
/** Numbers that nobody has. */
const victim = 23_451;
const attacker = 23_452;
const inTmp = `/tmp/keelson-planner-${victim}`;

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function as(uid: number, command: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
  const words = ['--reuid', String(uid), '--regid', String(uid), '--clear-groups', ...command];
  return new Promise((resolve) => {
    execFile('setpriv', words, { env: { PATH: '/usr/bin:/bin', ...env }, timeout: 30_000 }, (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? 1 : 0, stdout, stderr }),
    );
  });
}

const call = (uid: number, env: Record<string, string> = {}): Promise<Outcome> => as(uid, [ociBinary, 'features'], env);

function plannersOf(uid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        const owner = /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
        return words.includes(join(checkout, 'dist/planner.mjs')) && Number(owner) === uid;
      } catch {
        return false;
      }
    });
}

/** A place of one user's, and no planners and no directories in /tmp left of either. */
class Place implements Disposable {
  readonly directory: string = mkdtempSync(join(tmpdir(), 'k-')) /* names of sockets are short */;

  constructor() {
    chmodSync(this.directory, 0o755);
    for (const uid of [victim, attacker]) rmSync(`/tmp/keelson-planner-${uid}`, { recursive: true, force: true });
  }

  own(name: string, uid: number, mode: number): string {
    const path = join(this.directory, name);
    mkdirSync(path, { recursive: true });
    chownSync(path, uid, uid);
    chmodSync(path, mode);
    return path;
  }

  [Symbol.dispose](): void {
    for (const uid of [victim, attacker]) {
      for (const pid of plannersOf(uid)) process.kill(pid, 'SIGKILL');
      rmSync(`/tmp/keelson-planner-${uid}`, { recursive: true, force: true });
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Counts who connects; what a false planner would need. */
async function listen(path: string): Promise<{ server: Server; connections: () => number }> {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  chmodSync(path, 0o777);
  return { server, connections: () => connections };
}

/** The name that the victim's front looks for. */
async function socketName(directory: string): Promise<string> {
  const [name] = readdirSync(directory).filter((entry) => entry !== 'lock');
  assert.ok(name !== undefined, `no socket in ${directory}`);
  return name;
}

test("another user's planner can't be connected to, nor its directory be read", { skip }, async () => {
  using place = new Place();
  const runtime = place.own('runtime', victim, 0o755); // as loose as can be: what counts is below
  assert.equal((await call(victim, { XDG_RUNTIME_DIR: runtime })).code, 0);
  const directory = join(runtime, 'keelson/planner');
  const path = join(directory, await socketName(directory));
  const connect = `require('node:net').connect(${JSON.stringify(path)}).on('error', (e) => { console.log(e.code); process.exit(3); }).on('connect', () => process.exit(0));`;
  const other = await as(attacker, [process.execPath, '-e', connect]);
  assert.deepEqual([other.code, other.stdout], [3, 'EACCES\n']);
  assert.notEqual((await as(attacker, ['ls', directory])).code, 0);
  assert.equal((await as(victim, [process.execPath, '-e', connect])).code, 0, 'the same connection of its own user');
});

test('each user has a planner of their own, even with the same runtime directory', { skip }, async () => {
  using place = new Place();
  const runtime = place.own('runtime', victim, 0o777);
  const env = { XDG_RUNTIME_DIR: runtime };
  assert.equal((await call(victim, env)).code, 0);
  const [first] = plannersOf(victim);
  assert.equal((await call(attacker, env)).code, 0, 'served, but elsewhere');
  assert.equal(plannersOf(attacker).length, 1);
  assert.deepEqual(plannersOf(victim), [first]);
});

test('a directory that someone else has made in /tmp is refused, and nobody listens to who is in it', {
  skip,
}, async () => {
  using place = new Place();
  assert.equal((await call(victim)).code, 0);
  const name = await socketName(inTmp);
  for (const pid of plannersOf(victim)) process.kill(pid, 'SIGKILL');
  rmSync(inTmp, { recursive: true });

  mkdirSync(inTmp, { mode: 0o777 });
  chownSync(inTmp, attacker, attacker);
  chmodSync(inTmp, 0o777);
  const { server, connections } = await listen(join(inTmp, name));
  try {
    const outcome = await call(victim);
    assert.equal(outcome.code, 1);
    assert.match(
      outcome.stderr,
      /keelson-planner-23451 for the planner's socket: it must be a directory of this user's/,
    );
    assert.equal(connections(), 0);
    assert.deepEqual(plannersOf(victim), []);
  } finally {
    server.close();
  }
  void place;
});

test('a link in the place of the directory is refused, even one to a directory of the same user', {
  skip,
}, async () => {
  using place = new Place();
  symlinkSync(place.own('own', victim, 0o700), inTmp);
  const outcome = await call(victim);
  assert.equal(outcome.code, 1);
  assert.match(outcome.stderr, /for the planner's socket/);
  assert.deepEqual(readdirSync(join(place.directory, 'own')), [], 'nothing was made behind the link');
});

test('a directory of its own that others may look into is refused', { skip }, async () => {
  using place = new Place();
  for (const mode of [0o701, 0o710, 0o777]) {
    mkdirSync(inTmp);
    chownSync(inTmp, victim, victim);
    chmodSync(inTmp, mode);
    assert.equal((await call(victim)).code, 1, mode.toString(8));
    rmSync(inTmp, { recursive: true });
  }
  void place;
});

test('a runtime directory of someone else is passed by', { skip }, async () => {
  using place = new Place();
  const runtime = place.own('theirs', attacker, 0o777);
  const made = place.own('theirs/keelson/planner', attacker, 0o777);
  chmodSync(join(runtime, 'keelson'), 0o777);
  assert.equal((await call(victim, { XDG_RUNTIME_DIR: runtime })).code, 0);
  assert.deepEqual(readdirSync(made), []);
  assert.ok(existsSync(inTmp));
});

test('a listener of another user in the right place gets no call', { skip }, async () => {
  using place = new Place();
  const runtime = place.own('runtime', victim, 0o700);
  const env = { XDG_RUNTIME_DIR: runtime };
  assert.equal((await call(victim, env)).code, 0);
  const directory = join(runtime, 'keelson/planner');
  const name = await socketName(directory);
  for (const pid of plannersOf(victim)) process.kill(pid, 'SIGKILL');
  rmSync(join(directory, name));
  const { server } = await listen(join(directory, name)); // this process is root: someone else
  const received: Buffer[] = [];
  server.on('connection', (socket) => socket.on('data', (bytes) => received.push(bytes)));
  try {
    const outcome = await call(victim, env);
    assert.equal(outcome.code, 1);
    assert.match(outcome.stderr, /connecting to the planner at .*: Operation not permitted/);
    assert.equal(Buffer.concat(received).length, 0, 'not a byte of the call');
  } finally {
    server.close();
  }
});

test('a directory that is swapped while calls are made fools none of them', { skip }, async () => {
  using place = new Place();
  const runtime = place.own('shared', attacker, 0o777); // the attacker may rename what is in it
  const env = { XDG_RUNTIME_DIR: runtime };
  assert.equal((await call(victim, env)).code, 0);
  const own = join(runtime, 'keelson');
  const name = await socketName(join(own, 'planner'));
  const decoy = place.own('shared/decoy', attacker, 0o755);
  mkdirSync(join(decoy, 'planner'));
  const { server, connections } = await listen(join(decoy, 'planner', name));
  try {
    await using _ = swapping([own, decoy]);
    for (const end = Date.now() + 4000; Date.now() < end; ) await call(victim, env); // may fail; must not be fooled
    assert.equal(connections(), 0);
  } finally {
    server.close();
  }
});
