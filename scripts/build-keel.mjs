// Compiles keel, statically, with the C compiler at hand ($CC or cc). `--asan` makes the sanitized build that the tests run.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = join(dirname(fileURLToPath(import.meta.url)), '..', 'native');
const asan = process.argv.includes('--asan');
const cc = process.env.CC ?? 'cc';
const sources = readdirSync(native).filter((f) => f.endsWith('.c') && !f.startsWith('fuzz'));
const out = join(native, 'build', asan ? 'keel-asan' : 'keel');
const flags = asan
  ? ['-g', '-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-fno-omit-frame-pointer']
  : [
      '-O2',
      '-static',
      '-s',
      '-D_FORTIFY_SOURCE=2',
      '-fstack-protector-strong',
      '-Wl,--gc-sections',
      '-ffunction-sections',
      '-fdata-sections',
    ];
mkdirSync(dirname(out), { recursive: true });
const args = [
  '-std=c11',
  '-D_GNU_SOURCE',
  '-Wall',
  '-Wextra',
  '-Werror',
  ...flags,
  '-I',
  native,
  ...sources.map((f) => join(native, f)),
  '-o',
  `${out}.new`,
];
const result = spawnSync(cc, args, { stdio: 'inherit' });
if (result.error)
  console.error(`build-keel: ${cc}: ${result.error.message} (a C compiler is needed: apt-get install gcc libc6-dev)`);
if (result.status !== 0) process.exit(1);
renameSync(`${out}.new`, out);
