// npm test: every check there is, in lanes, cheapest first. `npm test -- unit machine` runs the named lanes only.
// Runs on the Node that the machine has; what it starts runs on the checkout's own. Needs scripts/setup.mjs to have run.
import { spawn } from 'node:child_process';
import fs, { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { arch, availableParallelism, tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePackages } from './test-packages.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
process.chdir(root);
const bin = join(root, 'node_modules/.bin');
const own = join(root, `node_modules/node-linux-${arch()}/bin/node`);
const node = existsSync(own) ? own : process.execPath;

let laneRuns = 0;

/** Runs a program with its output on ours; false when it failed, took longer than `minutes`, or left processes behind. */
function run(command, args, { env = {}, minutes = 10 } = {}) {
  const mark = `KEELSON_TEST_LANE=${process.pid}-${++laneRuns}`;
  const child = spawn(command, args, {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: {
      ...process.env,
      ...env,
      KEELSON_TEST_LANE: mark.split('=')[1],
      PATH: `${bin}${delimiter}${process.env.PATH}`,
    },
    detached: true,
  });
  const stop = () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {}
    for (const { pid } of marked(mark)) process.kill(pid, 'SIGKILL');
  };
  const timer = setTimeout(() => {
    console.log(`  FAILED ${command} ${args[0]}: not done after ${minutes} minutes; stopped, with`);
    for (const { pid, words } of marked(mark)) console.log(`    ${pid} ${words.slice(0, 200)}`);
    stop();
  }, minutes * 60_000);
  process.once('exit', stop);
  return new Promise((resolve) => {
    const end = (ok) => {
      clearTimeout(timer);
      process.off('exit', stop);
      resolve(ok);
    };
    child.on('error', (error) => {
      console.log(`  FAILED ${command}: ${error.message}`);
      end(false);
    });
    child.on('exit', async (code) => {
      const left = await stillThere(mark);
      for (const { pid, words } of left) {
        console.log(`  FAILED ${command}: left process ${pid} running: ${words.slice(0, 200)}`);
        process.kill(pid, 'SIGKILL');
      }
      end(code === 0 && left.length === 0);
    });
  });
}

/** Processes that carry the mark in their environment: whatever a lane started, however it detached itself. */
function marked(mark) {
  return fs.readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'utf8').includes(mark)) return [];
      return [{ pid: Number(pid), words: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ') }];
    } catch {
      return [];
    }
  });
}

/** What is left two seconds after a lane's end. */
async function stillThere(mark) {
  const deadline = Date.now() + 2000;
  let left = marked(mark);
  while (left.length > 0 && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    left = marked(mark);
  }
  return left;
}

/** A lane that is one program: passed or failed. */
const check = (command, args, options) => async () => ({ ok: await run(command, args, options) });

/** A lane of test files, `isolated`: on a machine of its own as test/support/isolated.sh makes it. */
const tests =
  (patterns, { concurrency = 1, timeout = 120, minutes = 15, env = {}, isolated = false } = {}) =>
  async () => {
    const files = patterns.flatMap((pattern) => fs.globSync(pattern)).sort();
    if (files.length === 0) return { ok: false, note: `no file matches ${patterns.join(' ')}` };
    const folder = mkdtempSync(join(tmpdir(), 'keelson-test-'));
    const counts = join(folder, 'counts.json');
    try {
      const [command, ...before] = isolated && process.getuid() === 0 ? ['test/support/isolated.sh', node] : [node];
      const ok = await run(
        command,
        [
          ...before,
          '--disable-warning=ExperimentalWarning',
          '--test',
          '--test-reporter=./scripts/test-reporter.mjs',
          `--test-concurrency=${concurrency}`,
          `--test-timeout=${timeout * 1000}`,
          ...files,
        ],
        { env: { ...env, KEELSON_TEST_COUNTS: counts }, minutes },
      );
      const result = existsSync(counts) ? JSON.parse(readFileSync(counts, 'utf8')) : undefined;
      if (!result) return { ok: false, note: 'the test run ended early' };
      const none = result.passed + result.failed === 0;
      return {
        ok: ok && result.failed === 0 && !(none && result.skipped === 0),
        ...result,
        ...(none ? { note: 'no test ran' } : {}),
      };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };

const asanKeel = join(root, 'native/build/asan/keel');

/**
 * The lanes in order. `needs`: purposes of test-packages.mjs. `root`: has no meaning for an ordinary user.
 * `ifAny`: skipped while no such file exists.
 */
function lanes() {
  return [
    { name: 'format', run: check(join(bin, 'biome'), ['format']) },
    { name: 'lint', run: check(join(bin, 'oxlint'), ['--type-aware']) },
    { name: 'types', run: check(join(bin, 'tsc'), ['-p', 'tsconfig.check.json']) },
    { name: 'layers', run: check(node, ['scripts/check-layers.mjs']) },
    { name: 'drawing', run: check(node, ['scripts/check-drawing.mjs']), ifAny: ['scripts/check-drawing.mjs'] },
    { name: 'exports', run: check(join(bin, 'knip'), []) },
    {
      name: 'unit',
      run: tests(['src/**/*.test.ts', 'test/unit/**/*.test.ts'], {
        concurrency: Math.max(2, availableParallelism()),
        minutes: 6,
      }),
    },
    {
      name: 'keel',
      needs: ['sanitizers', 'integration'],
      run: async () =>
        (await run(node, ['scripts/build-keel.mjs', '--asan']))
          ? tests(['src/kernel/**/*.test.ts', 'src/image/*unpack*.test.ts', 'test/keel/**/*.test.ts'], {
              env: { KEELSON_KEEL: asanKeel, ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=0' },
              isolated: true,
              minutes: 6,
            })()
          : { ok: false, note: 'keel does not compile with ASan and UBSan' },
    },
    {
      name: 'integration',
      needs: ['integration'],
      run: tests(['test/integration/**/*.test.ts', 'test/attacks/**/*.test.ts', 'test/cli/**/*.test.ts'], {
        timeout: 300,
        minutes: 20,
        isolated: true,
      }),
    },
    { name: 'fuzz', needs: ['sanitizers'], run: check(node, ['scripts/fuzz.mjs']) },
    {
      name: 'machine',
      needs: ['machine'],
      run: tests(['test/machine/**/*.test.ts'], { timeout: 900, minutes: 15 }),
    },
  ];
}

async function main() {
  const all = lanes();
  const chosen = process.argv.slice(2);
  const unknown = chosen.filter((name) => !all.some((lane) => lane.name === name));
  if (unknown.length > 0) {
    console.error(`test: no lane ${unknown.join(', ')}; there are ${all.map((lane) => lane.name).join(', ')}`);
    return 2;
  }
  const wanted = all.filter((lane) => chosen.length === 0 || chosen.includes(lane.name));
  const rows = [];
  for (const lane of wanted) {
    const begin = Date.now();
    console.log(`== ${lane.name}`);
    const missing = ensurePackages(lane.needs ?? []);
    let result;
    if (missing !== undefined) result = { skipped: 1, ok: true, laneSkipped: missing };
    else if (lane.ifAny && lane.ifAny.every((pattern) => fs.globSync(pattern).length === 0))
      result = { ok: true, skipped: 1, laneSkipped: `${lane.ifAny.join(', ')} not there` };
    else result = await lane.run();
    const row = { name: lane.name, seconds: (Date.now() - begin) / 1000, ...result };
    rows.push(row);
    const state = row.laneSkipped
      ? `skipped: ${row.laneSkipped}`
      : row.ok
        ? 'ok'
        : `FAILED${row.note ? `: ${row.note}` : ''}`;
    console.log(`== ${lane.name}: ${state} (${row.seconds.toFixed(1)} s)\n`);
  }
  return summarize(rows);
}

/** Prints the table; a lane without tests of its own counts as one. Returns the exit code. */
function summarize(rows) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  console.log('lane          result      passed  failed  skipped  seconds');
  for (const row of rows) {
    const counted = row.passed !== undefined;
    const passed = row.passed ?? (row.ok && !row.laneSkipped ? 1 : 0);
    // A lane that failed without a failed test (a crash, a time-out) is a failure too.
    const failed = Math.max(row.failed ?? 0, row.ok ? 0 : 1);
    const skipped = row.skipped ?? 0;
    total.passed += passed;
    total.failed += failed;
    total.skipped += skipped;
    const result = row.laneSkipped ? 'skipped' : row.ok ? 'ok' : 'FAILED';
    const cells = [passed, failed, skipped].map((n, i) => String(n).padStart([8, 8, 9][i]));
    console.log(`${row.name.padEnd(14)}${result.padEnd(10)}${cells.join('')}${row.seconds.toFixed(1).padStart(9)}`);
    if (!counted && row.note) console.log(`  ${row.note}`);
  }
  const skips = rows.flatMap((row) => (row.laneSkipped ? [`${row.name}: ${row.laneSkipped}`] : (row.skips ?? [])));
  if (skips.length > 0) console.log(`\nskipped:\n${skips.map((line) => `  ${line}`).join('\n')}`);
  const failures = rows.flatMap((row) => [
    ...(row.failures ?? []),
    ...(row.ok || row.failures?.length ? [] : [`${row.name}${row.note ? `: ${row.note}` : ''}`]),
  ]);
  if (failures.length > 0) console.log(`\nfailed:\n${failures.map((line) => `  ${line}`).join('\n')}`);
  console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  return total.failed > 0 ? 1 : 0;
}

// Before anything else: the checkout's own Node, so that this file may use what that one has.
if (process.execPath !== node) {
  const again = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => again.kill(signal));
  again.on('exit', (code) => process.exit(code ?? 1));
} else {
  process.exit(await main());
}
