// Builds every native/fuzz-*.c with libFuzzer, ASan and UBSan, and runs each for a bounded time ($KEELSON_FUZZ_SECONDS each, or 20).
// A harness is linked with all of keel but main.c. Seeds lie in test/fuzz/<name>/; what crashes is left in native/build/fuzz/<name>/.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSeeds } from './fuzz-seeds.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const native = join(root, 'native');
// `node scripts/fuzz.mjs tar 60`: only that one, that long.
const [only, given] = process.argv.slice(2);
const seconds = Number(given ?? process.env.KEELSON_FUZZ_SECONDS ?? 20);
const cc = process.env.FUZZ_CC ?? 'clang';
const sources = readdirSync(native).filter((name) => name.endsWith('.c'));
const harnesses = sources.filter(
  (name) => name.startsWith('fuzz-') && (only === undefined || name === `fuzz-${only}.c`),
);
const keel = sources.filter((name) => !name.startsWith('fuzz') && name !== 'main.c').map((name) => join(native, name));

function build(harness, out) {
  const flags = ['-g', '-O1', '-fsanitize=fuzzer,address,undefined', '-fno-sanitize-recover=all'];
  const args = ['-std=c11', '-D_GNU_SOURCE', '-DKEEL_FUZZ', ...flags, '-I', native, join(native, harness), ...keel];
  return new Promise((resolve) => {
    const child = spawn(cc, [...args, '-o', out], { stdio: 'inherit' });
    child.on('error', (error) => {
      console.error(`fuzz: ${cc}: ${error.message} (Debian: clang, libclang-rt-14-dev)`);
      resolve(false);
    });
    child.on('exit', (code) => resolve(code === 0));
  });
}

function fuzz(name, program, corpus) {
  const seeds = join(root, 'test/fuzz', name);
  const dirs = existsSync(seeds) ? [corpus, seeds] : [corpus];
  const args = [`-max_total_time=${seconds}`, '-timeout=10', '-rss_limit_mb=1024', '-print_final_stats=1'];
  return new Promise((resolve) => {
    const child = spawn(program, [...args, `-artifact_prefix=${corpus}/../crash-${name}-`, ...dirs], {
      stdio: ['ignore', 'ignore', 'pipe'],
      // Programs of the sanitizers find their symbolizer by this; leaks count.
      env: { ...process.env, ASAN_OPTIONS: 'detect_leaks=1' },
    });
    let text = '';
    child.stderr.setEncoding('utf8').on('data', (chunk) => {
      text = (text + chunk).slice(-20_000);
    });
    child.on('exit', (code) => {
      const runs = /stat::number_of_executed_units:\s*(\d+)/.exec(text)?.[1];
      if (code === 0 && runs !== undefined && Number(runs) > 0) {
        console.log(`  ok ${name}: ${runs} inputs in ${seconds} s`);
        resolve(true);
      } else {
        console.log(`  FAILED ${name}: exit ${code}\n${text}`);
        resolve(false);
      }
    });
  });
}

if (harnesses.length === 0) {
  console.error('fuzz: there is no native/fuzz-*.c');
  process.exit(1);
}

async function buildAndFuzz(harness) {
  const name = harness.slice('fuzz-'.length, -'.c'.length);
  const folder = join(native, 'build/fuzz');
  const corpus = join(folder, name);
  mkdirSync(corpus, { recursive: true });
  writeSeeds(name, corpus);
  const program = join(folder, `fuzz-${name}`);
  return (await build(harness, program)) && fuzz(name, program, corpus);
}

let ok = true;
const queue = [...harnesses];
const worker = async () => {
  for (let harness = queue.shift(); harness !== undefined; harness = queue.shift()) {
    ok = (await buildAndFuzz(harness)) && ok;
  }
};
await Promise.all(Array.from({ length: availableParallelism() }, worker));
process.exit(ok ? 0 : 1);
