// npm test: every check there is, in lanes, cheapest first. `npm test -- unit machine` runs the named lanes only.
// Runs on the Node that the machine has, goes on with the checkout's own. Needs scripts/setup.mjs to have run.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { arch, availableParallelism, tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const own = join(root, `node_modules/node-linux-${arch()}/bin/node`);
const bin = join(root, 'node_modules/.bin');

if (existsSync(own) && realpathSync(process.execPath) !== realpathSync(own)) {
  const again = spawn(own, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => again.kill(signal));
  again.on('exit', (code) => process.exit(code ?? 1));
} else {
  process.chdir(root);
  process.env.PATH = `${bin}${delimiter}${process.env.PATH}`;
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));
  process.exit(await main(process.argv.slice(2)));
}

/** The lanes in order. `needs`: purposes of test-packages.mjs. */
function lanes({ runProgram, runTestFiles }) {
  const check = async (command, ...args) => {
    const problems = await runProgram(command, args);
    return problems.length === 0 ? { ok: true } : { ok: false, note: problems.join('; ') };
  };
  const node = process.execPath;
  const parallel = Math.max(2, availableParallelism());
  return [
    { name: 'format', run: () => check(join(bin, 'biome'), 'format') },
    { name: 'lint', run: () => check(join(bin, 'oxlint'), '--type-aware') },
    { name: 'types', run: () => check(join(bin, 'tsc'), '-p', 'tsconfig.check.json') },
    { name: 'layers', run: () => check(node, 'scripts/check-layers.mjs') },
    { name: 'drawing', run: () => check(node, 'scripts/check-drawing.mjs') },
    { name: 'exports', run: () => check(join(bin, 'knip')) },
    {
      name: 'unit',
      run: () => runTestFiles(['src/**/*.test.ts', 'test/unit/**/*.test.ts'], { concurrency: parallel }),
    },
    {
      name: 'keel',
      needs: ['sanitizers', 'integration'],
      async run() {
        const built = await check(node, 'scripts/build-keel.mjs', '--asan');
        if (!built.ok) return built;
        const keel = join(root, 'native/build/asan/keel');
        return runTestFiles(['src/kernel/keel*.test.ts', 'test/keel/**/*.test.ts'], {
          env: { KEELSON_KEEL: keel, ASAN_OPTIONS: 'detect_leaks=0' },
          concurrency: parallel,
          isolated: true,
        });
      },
    },
    {
      name: 'integration',
      needs: ['integration'],
      run: () =>
        runTestFiles(
          [
            'test/integration/**/*.test.ts',
            'test/attacks/**/*.test.ts',
            'test/cli/**/*.test.ts',
            'test/oci/**/*.test.ts',
          ],
          {
            seconds: 240,
            minutes: 10,
            concurrency: parallel,
            isolated: true,
          },
        ),
    },
    { name: 'peers', needs: ['peers'], run: () => peers(runTestFiles) },
    { name: 'fuzz', needs: ['sanitizers'], run: () => check(node, 'scripts/fuzz.mjs') },
    {
      name: 'machine',
      needs: ['machine'],
      run: () => runTestFiles(['test/machine/**/*.test.ts'], { seconds: 900, minutes: 16 }),
    },
  ];
}

/** What other people's programs make of keelson-oci, with the table of it. */
async function peers(runTestFiles) {
  const table = join(mkdtempSync(join(tmpdir(), 'keelson-peers-')), 'table');
  const env = { KEELSON_PEERS_TABLE: table };
  const result = await runTestFiles(['test/peers/**/*.test.ts'], { seconds: 900, minutes: 16, env });
  if (existsSync(table)) console.log(readFileSync(table, 'utf8'));
  rmSync(dirname(table), { recursive: true, force: true });
  return result;
}

async function main(chosen) {
  const { runProgram } = await import('./test-process.mjs');
  const { runTestFiles } = await import('./test-files.mjs');
  const { ensurePackages } = await import('./test-packages.mjs');
  const all = lanes({ runProgram, runTestFiles });
  const unknown = chosen.filter((name) => !all.some((lane) => lane.name === name));
  if (unknown.length > 0) {
    console.error(`test: no lane ${unknown.join(', ')}; there are ${all.map((lane) => lane.name).join(', ')}`);
    return 2;
  }
  const rows = [];
  for (const { name, needs = [], run } of all) {
    if (chosen.length > 0 && !chosen.includes(name)) continue;
    const begin = Date.now();
    console.log(`== ${name}`);
    const missing = ensurePackages(needs);
    const result = missing === undefined ? await run() : { ok: true, laneSkipped: missing };
    const row = { name, seconds: (Date.now() - begin) / 1000, ...result };
    rows.push(row);
    console.log(`== ${name}: ${stateOf(row)}${row.note ? `: ${row.note}` : ''} (${row.seconds.toFixed(1)} s)\n`);
  }
  return summarize(rows);
}

function stateOf(row) {
  return row.laneSkipped ? 'skipped' : row.ok ? 'ok' : 'FAILED';
}

/** Prints the table, what was skipped and what failed; a lane without tests of its own counts as one. Returns the exit code. */
function summarize(rows) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  console.log('lane          result    passed  failed  skipped  seconds');
  for (const row of rows) {
    const alone = row.passed === undefined;
    const passed = row.passed ?? (row.ok && !row.laneSkipped ? 1 : 0);
    const failed = row.ok ? 0 : Math.max(row.failed ?? 0, 1);
    const skipped = row.laneSkipped ? 1 : (row.skipped ?? 0);
    total.passed += passed;
    total.failed += failed;
    total.skipped += skipped;
    const cells = [row.name.padEnd(14), stateOf(row).padEnd(8), `${passed}`.padStart(8), `${failed}`.padStart(8)];
    console.log(`${cells.join('')}${`${skipped}`.padStart(9)}${row.seconds.toFixed(1).padStart(9)}`);
    if (alone && row.note) console.log(`  ${row.note}`);
  }
  const list = (title, lines) =>
    lines.length > 0 && console.log(`\n${title}:\n${lines.map((line) => `  ${line}`).join('\n')}`);
  list(
    'skipped',
    rows.flatMap((row) => (row.laneSkipped ? [`${row.name}: ${row.laneSkipped}`] : (row.skips ?? []))),
  );
  list(
    'failed',
    rows.flatMap((row) => (row.ok ? [] : row.failures?.length ? row.failures : [`${row.name}: ${row.note}`])),
  );
  console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  return total.failed > 0 ? 1 : 0;
}
