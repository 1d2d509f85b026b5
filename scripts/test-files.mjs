// Runs test files, each in a process of its own, and adds up what they report.
import { closeSync, globSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runProgram } from './test-process.mjs';

/**
 * `isolated`: on a machine of its own, as test/support/isolated.sh makes it for root. `seconds`: for a test; `minutes`: for a file.
 * A file in which no test ran has failed: it says nothing about the code.
 */
export async function runTestFiles(
  patterns,
  { concurrency = 1, seconds = 120, minutes = 5, env = {}, isolated = false } = {},
) {
  const files = patterns.flatMap((pattern) => globSync(pattern)).sort();
  const total = { ok: true, passed: 0, failed: 0, skipped: 0, failures: [], skips: [] };
  if (files.length === 0) return { ...total, ok: false, note: `no file matches ${patterns.join(' ')}` };
  const queue = [...files];
  const worker = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const result = await runTestFile(file, { seconds, minutes, env, isolated: isolated && process.getuid() === 0 });
      total.passed += result.passed;
      total.failed += result.failed;
      total.skipped += result.skipped;
      for (const name of result.failures) total.failures.push(`${file}: ${name}`);
      for (const name of result.skips) total.skips.push(`${file}: ${name}`);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  total.ok = total.failed === 0;
  return total;
}

async function runTestFile(file, { seconds, minutes, env, isolated }) {
  const folder = mkdtempSync(join(tmpdir(), 'keelson-run-'));
  const begin = Date.now();
  try {
    const [counts, output] = [join(folder, 'counts.json'), join(folder, 'output')];
    // A file rather than a pipe: what a test leaves behind must not keep us waiting.
    const fd = openSync(output, 'w');
    const command = [
      ...(isolated ? ['test/support/isolated.sh'] : []),
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      '--test-reporter=./scripts/test-reporter.mjs',
      `--test-timeout=${seconds * 1000}`,
      file,
    ];
    const problems = await runProgram(command[0], command.slice(1), {
      env: { ...env, KEELSON_TEST_COUNTS: counts },
      minutes,
      stdio: ['ignore', fd, fd],
    });
    closeSync(fd);
    const result = countsOf(counts);
    if (result === undefined) problems.push('ended before its tests had');
    else if (result.passed + result.failed + result.skipped === 0) problems.push('no test ran');
    const { passed, failed, skipped, failures, skips } = result ?? {
      passed: 0,
      failed: 0,
      skipped: 0,
      failures: [],
      skips: [],
    };
    // An exit code of 1 is how node tells of the failed tests, which are known already.
    const more = failed > 0 ? problems.filter((problem) => problem !== 'ended with 1') : problems;
    const text = readFileSync(output, 'utf8').trimEnd();
    if (failed + more.length > 0 && text !== '') console.log(text.slice(-20_000));
    for (const problem of more) console.log(`  FAILED ${file}: ${problem}`);
    const parts = [
      `${passed} passed`,
      ...(failed ? [`${failed} failed`] : []),
      ...(skipped ? [`${skipped} skipped`] : []),
    ];
    const state = failed + more.length > 0 ? 'FAILED' : 'ok';
    console.log(`  ${state} ${file}: ${parts.join(', ')} (${((Date.now() - begin) / 1000).toFixed(1)} s)`);
    return { passed, failed: failed + more.length, skipped, failures: [...failures, ...more], skips };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function countsOf(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}
