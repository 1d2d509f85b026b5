// Compiles keel, statically, with the C compiler at hand ($CC or cc). `--asan` makes the sanitized build that the tests run;
// `--ops` writes src/kernel/ops.ts anew from native/ops.json.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const native = join(root, 'native');
const ops = JSON.parse(readFileSync(join(native, 'ops.json'), 'utf8'));
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const kinds = Object.entries(ops).filter(([, numbers]) => typeof numbers === 'object');

function header() {
  const upper = (name) => name.replaceAll(/([A-Z])/g, '_$1').toUpperCase();
  const lines = kinds.map(([kind, numbers]) => {
    const names = Object.entries(numbers).map(([name, number]) => `\t${upper(kind)}_${upper(name)} = ${number},\n`);
    return `enum {\n${names.join('')}};\n`;
  });
  return `/* Made from ops.json by scripts/build-keel.mjs. */\n#ifndef KEEL_OPS_H\n#define KEEL_OPS_H\n\n#define KEEL_VERSION "${version}"\n#define WIRE_VERSION ${ops.version}\n\n${lines.join('\n')}\n#endif\n`;
}

/** What src/kernel/ops.ts has to be; a test compares. */
export function opsModule() {
  const lines = kinds.map(([kind, numbers]) => {
    const names = Object.entries(numbers).map(([name, number]) => `  ${name}: ${number},\n`);
    return `export const ${kind}Numbers = {\n${names.join('')}} as const;\n`;
  });
  return `// Made from native/ops.json by \`node scripts/build-keel.mjs --ops\`.\n\nexport const wireVersion = ${ops.version};\n\n${lines.join('\n')}`;
}

/** Writes native/build/ops.h unless it is as it has to be: its age decides what `make` would rebuild. */
export function writeHeader() {
  const path = join(native, 'build/ops.h');
  mkdirSync(dirname(path), { recursive: true });
  if (!existsSync(path) || readFileSync(path, 'utf8') !== header()) {
    writeFileSync(`${path}.${process.pid}`, header());
    renameSync(`${path}.${process.pid}`, path);
  }
}

function build(asan) {
  const cc = process.env.CC ?? 'cc';
  const sources = readdirSync(native).filter((f) => f.endsWith('.c') && !f.startsWith('fuzz'));
  // Of the same name, because it is what /proc/self/comm says.
  const out = join(native, 'build', asan ? 'asan/keel' : 'keel');
  mkdirSync(dirname(out), { recursive: true });
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
  const next = `${out}.${process.pid}`;
  const args = [
    '-std=c11',
    '-D_GNU_SOURCE',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-Wno-format-truncation',
    ...flags,
    '-I',
    native,
  ];
  const result = spawnSync(cc, [...args, ...sources.map((f) => join(native, f)), '-o', next], { stdio: 'inherit' });
  if (result.error)
    console.error(`build-keel: ${cc}: ${result.error.message} (a C compiler is needed: apt-get install gcc libc6-dev)`);
  if (result.status !== 0) process.exit(1);
  renameSync(next, out);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeHeader();
  if (process.argv.includes('--ops')) writeFileSync(join(root, 'src/kernel/ops.ts'), opsModule());
  else build(process.argv.includes('--asan'));
}
